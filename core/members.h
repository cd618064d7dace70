// The members of a small aggregate one by one, by structured bindings, so that nobody lists them by hand.
#pragma once

#include <type_traits>

namespace mininn {

namespace detail {
struct Anything {
  template <class T>
  operator T() const;  // never called
};

// How many initializers T takes.
template <class T, class... Initializers>
constexpr int count_members() {
  if constexpr (requires { T{Initializers()..., Anything()}; })
    return count_members<T, Initializers..., Anything>();
  else
    return sizeof...(Initializers);
}
}  // namespace detail

// Calls fn(member) for each member of `t` in its order.
template <class T, class Fn>
void for_each_member(T& t, const Fn& fn) {
  constexpr int count = detail::count_members<std::remove_const_t<T>>();
  static_assert(count >= 1 && count <= 16, "a line is missing below");
  const auto each = [&](auto&... members) { (fn(members), ...); };
#define MININN_MEMBERS(number, ...)  \
  if constexpr (count == (number)) { \
    auto& [__VA_ARGS__] = t;         \
    each(__VA_ARGS__);               \
  }
  MININN_MEMBERS(1, a)
  MININN_MEMBERS(2, a, b)
  MININN_MEMBERS(3, a, b, c)
  MININN_MEMBERS(4, a, b, c, d)
  MININN_MEMBERS(5, a, b, c, d, e)
  MININN_MEMBERS(6, a, b, c, d, e, f)
  MININN_MEMBERS(7, a, b, c, d, e, f, g)
  MININN_MEMBERS(8, a, b, c, d, e, f, g, h)
  MININN_MEMBERS(9, a, b, c, d, e, f, g, h, i)
  MININN_MEMBERS(10, a, b, c, d, e, f, g, h, i, j)
  MININN_MEMBERS(11, a, b, c, d, e, f, g, h, i, j, k)
  MININN_MEMBERS(12, a, b, c, d, e, f, g, h, i, j, k, l)
  MININN_MEMBERS(13, a, b, c, d, e, f, g, h, i, j, k, l, m)
  MININN_MEMBERS(14, a, b, c, d, e, f, g, h, i, j, k, l, m, n)
  MININN_MEMBERS(15, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o)
  MININN_MEMBERS(16, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)
#undef MININN_MEMBERS
}

}  // namespace mininn
