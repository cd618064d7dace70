// Options of an op as data, for graphs and files. The options are a struct whose fields are named once, for writing and
// for reading:
//
//   struct Pool2dOptions { Hw kernel = 2; ... };
//   template <class F>
//   void each_field(Pool2dOptions& o, const F& field) {
//     field("kernel", o.kernel);
//     ...
//   }
//
// A field's type needs to_attr(value) and from_attr(attr, value), found where the type is or below.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "core/error.h"
#include "core/shape.h"

namespace mininn {

using AttrValue = std::variant<int64_t, double, std::vector<int64_t>>;
struct Attr {
  std::string name;
  AttrValue value;
  bool operator==(const Attr&) const = default;
};
using Attrs = std::vector<Attr>;  // {"stride", {2, 2}}

// The options of an op that has none.
struct NoOptions {};
template <class F>
void each_field(NoOptions&, const F&) {}

template <class T>
concept AttrNumber = std::is_integral_v<T> || std::is_enum_v<T>;

template <AttrNumber T>
AttrValue to_attr(T v) {
  return int64_t(v);
}
inline AttrValue to_attr(double v) { return v; }
template <AttrNumber T>
AttrValue to_attr(const std::vector<T>& v) {
  return std::vector<int64_t>(v.begin(), v.end());
}
template <class Tag>
AttrValue to_attr(const Dims<Tag>& s) {
  return std::vector<int64_t>(s.begin(), s.end());
}
inline AttrValue to_attr(const std::vector<std::pair<int64_t, int64_t>>& pairs) {
  std::vector<int64_t> flat;
  for (const auto& [first, second] : pairs) flat.insert(flat.end(), {first, second});
  return flat;
}

namespace detail {
// The number as a T. What is none of an enum, the op refuses.
template <AttrNumber T>
bool narrow(int64_t from, T& to) {
  if constexpr (std::is_enum_v<T>) {
    std::underlying_type_t<T> number{};
    if (!narrow(from, number)) return false;
    to = T(number);
    return true;
  } else if constexpr (std::is_same_v<T, bool>) {
    to = from != 0;
    return true;
  } else {
    to = T(from);
    return std::in_range<T>(from);
  }
}
}  // namespace detail

// False if `a` is no such value.
template <AttrNumber T>
bool from_attr(const AttrValue& a, T& v) {
  const auto* const number = std::get_if<int64_t>(&a);
  return number && detail::narrow(*number, v);
}
inline bool from_attr(const AttrValue& a, double& v) {
  if (const auto* const whole = std::get_if<int64_t>(&a)) return v = double(*whole), true;
  const auto* const number = std::get_if<double>(&a);
  if (number) v = *number;
  return number;
}
// Only a number that an f32 holds.
inline bool from_attr(const AttrValue& a, float& v) {
  double number = 0;
  if (!from_attr(a, number)) return false;
  v = float(number);
  return double(v) == number;
}
template <AttrNumber T>
bool from_attr(const AttrValue& a, std::vector<T>& v) {
  const auto* const list = std::get_if<std::vector<int64_t>>(&a);
  if (!list) return false;
  v.resize(list->size());
  bool fits = true;
  for (size_t i = 0; i < v.size(); ++i) fits = detail::narrow((*list)[i], v[i]) && fits;
  return fits;
}
inline bool from_attr(const AttrValue& a, Shape& s) {
  const auto* const list = std::get_if<std::vector<int64_t>>(&a);
  if (!list || list->size() > size_t(kMaxRank)) return false;
  s = Shape(std::span<const int64_t>(*list));
  return true;
}
// Only numbers that an int holds.
inline bool from_attr(const AttrValue& a, DimList& dims) {
  std::vector<int> numbers;
  if (!from_attr(a, numbers) || numbers.size() > size_t(kMaxRank)) return false;
  dims = {};
  for (const int d : numbers) dims.push_back(d);
  return true;
}
inline bool from_attr(const AttrValue& a, std::vector<std::pair<int64_t, int64_t>>& pairs) {
  const auto* const list = std::get_if<std::vector<int64_t>>(&a);
  if (!list || list->size() % 2 != 0) return false;
  pairs.clear();
  for (size_t i = 0; i < list->size(); i += 2) pairs.emplace_back((*list)[i], (*list)[i + 1]);
  return true;
}

template <class Options>
Attrs to_attrs(Options o) {
  Attrs out;
  each_field(o, [&](const char* name, const auto& field) { out.push_back({name, to_attr(field)}); });
  return out;
}

// Throws ValueError for a field that is missing, no such value, or unknown.
template <class Options>
Options from_attrs(const Attrs& attrs) {
  Options o;
  size_t read = 0;
  each_field(o, [&](std::string_view name, auto& field) {
    const Attr* found = nullptr;
    for (const Attr& a : attrs)
      if (a.name == name) found = &a;
    if (!found) throw ValueError(message("there is no attribute '", name, "'"));
    if (!from_attr(found->value, field)) throw ValueError(message("attribute '", name, "' holds no such value"));
    ++read;
  });
  if (read != attrs.size()) throw ValueError(message(attrs.size(), " attributes where ", read, " are known"));
  return o;
}

}  // namespace mininn
