#include "core/attributes.h"

#include "core/dtype.h"
#include "tests/support/catch.h"

using namespace mininn;
using Catch::Contains;

namespace {

struct Everything {
  int64_t whole = 1;
  int small = 2;
  bool flag = true;
  double number = 0.5;
  DType dtype = DType::bf16;
  Shape shape{2, -1};
  std::vector<int> dims{0, 3};
  std::vector<std::pair<int64_t, int64_t>> pads{{1, 2}, {3, 4}};
};
template <class F>
void each_field(Everything& o, const F& field) {
  field("whole", o.whole);
  field("small", o.small);
  field("flag", o.flag);
  field("number", o.number);
  field("dtype", o.dtype);
  field("shape", o.shape);
  field("dims", o.dims);
  field("pads", o.pads);
}

std::string complaint(const std::string& name, const AttrValue& value) {
  Attrs attrs = to_attrs(Everything());
  for (Attr& a : attrs)
    if (a.name == name) a.value = value;
  try {
    from_attrs<Everything>(attrs);
  } catch (const ValueError& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("options become attributes and come back") {
  Everything o{int64_t{1} << 40, -7, false, 1e-5, DType::i64, {1, 2, 3}, {}, {}};
  const Attrs attrs = to_attrs(o);
  CHECK(attrs[0] == Attr{"whole", int64_t{1} << 40});
  CHECK(attrs[5] == Attr{"shape", std::vector<int64_t>{1, 2, 3}});
  const auto back = from_attrs<Everything>(attrs);
  CHECK(to_attrs(back) == attrs);
  CHECK(back.small == -7);
  CHECK(back.dtype == DType::i64);
  CHECK(from_attrs<Everything>(to_attrs(Everything())).pads == Everything().pads);
  CHECK(to_attrs(NoOptions()).empty());
}

TEST_CASE("attributes that are no options are refused by name") {
  const std::vector<int64_t> list{1, 2, 3};
  CHECK(complaint("number", int64_t{3}).empty());  // a whole number is a number
  CHECK_THAT(complaint("whole", 0.5), Contains("whole"));
  CHECK_THAT(complaint("whole", list), Contains("whole"));
  CHECK_THAT(complaint("number", list), Contains("number"));
  CHECK_THAT(complaint("small", int64_t{1} << 40), Contains("small"));
  CHECK_THAT(complaint("dtype", int64_t{256}), Contains("dtype"));
  CHECK_THAT(complaint("dtype", int64_t{-1}), Contains("dtype"));
  CHECK_THAT(complaint("dims", std::vector<int64_t>{int64_t{1} << 40}), Contains("dims"));
  CHECK_THAT(complaint("shape", std::vector<int64_t>(7, 1)), Contains("shape"));
  CHECK_THAT(complaint("pads", list), Contains("pads"));

  Attrs attrs = to_attrs(Everything());
  attrs.push_back({"other", int64_t{0}});
  CHECK_THROWS_AS(from_attrs<Everything>(attrs), ValueError);
  attrs.resize(3);
  CHECK_THROWS_WITH(from_attrs<Everything>(attrs), Contains("number"));
}

TEST_CASE("a float field takes only numbers that it holds") {
  const auto read = [](double value) {
    float v = 0;
    return from_attr(to_attr(value), v) && double(v) == value;
  };
  CHECK(read(0.25));
  CHECK(read(double(0.1f)));
  CHECK_FALSE(read(0.1));
  CHECK_FALSE(read(1e300));
}
