// The members of a plain struct, without naming them.
#pragma once

#include <cstddef>
#include <utility>

namespace mininn {

namespace detail {

constexpr size_t kMostFields = 20;

struct AnyField {
  template <class T>
  operator T() const;  // never made
};

template <class T, size_t... i>
consteval bool has_fields(std::index_sequence<i...>) {
  return requires { T{(void(i), AnyField())...}; };
}

// As many as T can be initialised with.
template <class T, size_t n = kMostFields>
consteval size_t field_count() {
  static_assert(!has_fields<T>(std::make_index_sequence<kMostFields + 1>()), "kMostFields and visit_fields() end here");
  if constexpr (n == 0 || has_fields<T>(std::make_index_sequence<n>()))
    return n;
  else
    return field_count<T, n - 1>();
}

}  // namespace detail

// visit(field) for each member of an aggregate without base classes and arrays, in order.
template <class T, class Visit>
void visit_fields(T& t, const Visit& visit) {
  constexpr size_t n = detail::field_count<T>();
  const auto each = [&](auto&... fields) { (visit(fields), ...); };
#define MININN_FIELDS(count, ...) \
  if constexpr (n == count) {     \
    auto& [__VA_ARGS__] = t;      \
    each(__VA_ARGS__);            \
  }
  MININN_FIELDS(1, a)
  MININN_FIELDS(2, a, b)
  MININN_FIELDS(3, a, b, c)
  MININN_FIELDS(4, a, b, c, d)
  MININN_FIELDS(5, a, b, c, d, e)
  MININN_FIELDS(6, a, b, c, d, e, f)
  MININN_FIELDS(7, a, b, c, d, e, f, g)
  MININN_FIELDS(8, a, b, c, d, e, f, g, h)
  MININN_FIELDS(9, a, b, c, d, e, f, g, h, i)
  MININN_FIELDS(10, a, b, c, d, e, f, g, h, i, j)
  MININN_FIELDS(11, a, b, c, d, e, f, g, h, i, j, k)
  MININN_FIELDS(12, a, b, c, d, e, f, g, h, i, j, k, l)
  MININN_FIELDS(13, a, b, c, d, e, f, g, h, i, j, k, l, m)
  MININN_FIELDS(14, a, b, c, d, e, f, g, h, i, j, k, l, m, o)
  MININN_FIELDS(15, a, b, c, d, e, f, g, h, i, j, k, l, m, o, p)
  MININN_FIELDS(16, a, b, c, d, e, f, g, h, i, j, k, l, m, o, p, q)
  MININN_FIELDS(17, a, b, c, d, e, f, g, h, i, j, k, l, m, o, p, q, r)
  MININN_FIELDS(18, a, b, c, d, e, f, g, h, i, j, k, l, m, o, p, q, r, s)
  MININN_FIELDS(19, a, b, c, d, e, f, g, h, i, j, k, l, m, o, p, q, r, s, u)
  MININN_FIELDS(20, a, b, c, d, e, f, g, h, i, j, k, l, m, o, p, q, r, s, u, v)
#undef MININN_FIELDS
}

}  // namespace mininn
