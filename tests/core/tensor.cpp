#include "core/tensor.h"

#include <limits>
#include <numeric>

#include "tests/support/catch.h"

using namespace mininn;

namespace {
Tensor iota(const Shape& s) {
  std::vector<float> v(size_t(numel(s)));
  std::iota(v.begin(), v.end(), 0.0f);
  return Tensor::from(v, s);
}
}  // namespace

TEST_CASE("a handle shares, clone copies, an undefined tensor says so") {
  Tensor a = iota({2, 3});
  Tensor b = a, c = a.clone();
  a.mutable_data<float>()[0] = 7;
  CHECK(b.data<float>()[0] == 7);
  CHECK(c.data<float>()[0] == 0);
  CHECK(a.id() == b.id());
  CHECK_FALSE(Tensor());
  CHECK_THROWS_AS(Tensor().shape(), ValueError);
}

TEST_CASE("data checks dtype and gaps") {
  Tensor a = iota({2, 3});
  CHECK_THROWS_AS(a.data<double>(), DTypeError);
  const Tensor column = a.as_strided({2}, {3}, 1);
  CHECK(column.to_vector() == std::vector<double>{1, 4});
  CHECK_THROWS_AS(column.data<float>(), ShapeError);
  CHECK(column.clone().data<float>()[1] == 4);
  CHECK_THROWS_AS(Tensor::from(std::vector<float>{1, 2}, {3}), ShapeError);
}

TEST_CASE("as_strided cannot leave its storage") {
  const Tensor a = iota({6});
  CHECK_THROWS_AS(a.as_strided({7}, {1}), ShapeError);
  CHECK_THROWS_AS(a.as_strided({2}, {1}, 5), ShapeError);
  CHECK_THROWS_AS(a.as_strided({2}, {-1}), ShapeError);
  CHECK(a.as_strided({2}, {-1}, 3).to_vector() == std::vector<double>{3, 2});
  CHECK_THROWS_AS(a.as_strided({3}, {int64_t{1} << 62}), ShapeError);
  CHECK(a.as_strided({0}, {1000}).numel() == 0);
}

TEST_CASE("channels-last keeps logical order and memory order apart") {
  Tensor t = Tensor::empty({1, 2, 2, 2}, DType::f32, Device::cpu(), MemoryFormat::channels_last);
  t.copy_from(iota({1, 2, 2, 2}));
  CHECK(t.to_vector() == std::vector<double>{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(std::vector<float>(t.data<float>().begin(), t.data<float>().end()) ==
        std::vector<float>{0, 4, 1, 5, 2, 6, 3, 7});
  CHECK(t.clone().is_channels_last());
  CHECK(Tensor::empty_like(t).strides() == t.strides());
}

TEST_CASE("copy_from converts between dtypes") {
  const Tensor a = Tensor::from(std::vector<float>{1.5f, -2.0f, 300.0f}, {3});
  Tensor d = Tensor::empty({3}, DType::f64), i = Tensor::empty({3}, DType::i32), b = Tensor::empty({3}, DType::bf16);
  d.copy_from(a);
  i.copy_from(a);
  b.copy_from(a);
  CHECK(d.to_vector() == std::vector<double>{1.5, -2, 300});
  CHECK(i.to_vector() == std::vector<double>{1, -2, 300});
  CHECK(b.to_vector() == std::vector<double>{1.5, -2, 300});
  CHECK_THROWS_AS(d.copy_from(iota({2})), ShapeError);
}

TEST_CASE("fill and item work on views and every dtype") {
  Tensor a = iota({2, 3});
  a.as_strided({2}, {3}, 1).fill(9);
  CHECK(a.to_vector() == std::vector<double>{0, 9, 2, 3, 9, 5});
  CHECK(Tensor::full({}, 3, DType::u8).item() == 3);
  CHECK_THROWS_AS(a.item(), ShapeError);
}

TEST_CASE("tensors print what they are") {
  CHECK(to_string(Tensor::full({2}, 0.5)) == "f32[2] cpu {0.5, 0.5}");
  CHECK(to_string(Tensor::zeros({100})) == "f32[100] cpu");
  CHECK(to_string(Tensor::zeros({0, 3})) == "f32[0,3] cpu {}");
  CHECK(to_string(Tensor()) == "undefined");
}

TEST_CASE("writes are counted, reads are not") {
  Tensor a = iota({4});
  const auto before = a.storage()->version();
  (void)a.data<float>();
  (void)a.view();
  CHECK(a.storage()->version() == before);
  (void)a.mutable_data<float>();
  CHECK(a.storage()->version() == before + 1);
  Tensor view = a.as_strided({2}, {2});
  view.fill(0);
  CHECK(a.storage()->version() == before + 2);
}

TEST_CASE("a name stays with the tensor, not with its views") {
  Tensor a = iota({2});
  a.set_name("fc.bias");
  CHECK(a.name() == "fc.bias");
  CHECK(a.detach().name().empty());
}

TEST_CASE("tensors whose bytes overflow are refused, and those without memory by the library's own error") {
  constexpr int64_t big = int64_t{1} << 31, half = int64_t{1} << 40;
  CHECK_THROWS_AS(Tensor::zeros({big, big}), ShapeError);
  CHECK_THROWS_AS(Tensor::empty({big, big}, DType::f64), ShapeError);
  CHECK_THROWS_AS(Tensor::empty({0, half, half}), ShapeError);
  CHECK_THROWS_AS(Tensor::empty({0, half, half, 1}, DType::u8, Device::cpu(), MemoryFormat::channels_last), ShapeError);
  CHECK_THROWS_AS(Tensor::empty({big, big}, DType::u8), Error);
  const Tensor expanded = Tensor::zeros({1}).as_strided({half}, {0});
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they end the process where new would throw
  CHECK_THROWS_AS(expanded.to_vector(), Error);
#endif
  CHECK_THROWS_AS(expanded.as_strided({half, half}, {0, 0}), ShapeError);
}

TEST_CASE("the offset of a view neither overflows nor matters to an empty one") {
  const Tensor a = iota({6}).as_strided({3}, {1}, 3);
  CHECK_THROWS_AS(a.as_strided({1}, {1}, std::numeric_limits<int64_t>::max()), ShapeError);
  CHECK(a.as_strided({0}, {1}, std::numeric_limits<int64_t>::max()).storage_offset() == 3);
}

TEST_CASE("copy_from reads what the source had at the call, however the two overlap") {
  Tensor a = iota({3, 3});
  a.copy_from(a.as_strided({3, 3}, {1, 3}));
  CHECK(a.to_vector() == std::vector<double>{0, 3, 6, 1, 4, 7, 2, 5, 8});
  Tensor up = iota({6}), down = iota({6});
  up.as_strided({4}, {1}, 2).copy_from(up.as_strided({4}, {1}));
  down.as_strided({4}, {1}).copy_from(down.as_strided({4}, {1}, 2));
  CHECK(up.to_vector() == std::vector<double>{0, 1, 0, 1, 2, 3});
  CHECK(down.to_vector() == std::vector<double>{2, 3, 4, 5, 4, 5});
  Tensor b = iota({4});
  b.copy_from(b.as_strided({4}, {-1}, 3));
  CHECK(b.to_vector() == std::vector<double>{3, 2, 1, 0});
  b.copy_from(b);
  CHECK(b.to_vector() == std::vector<double>{3, 2, 1, 0});
  b.copy_from(b.as_strided({4}, {0}, 1));
  CHECK(b.to_vector() == std::vector<double>{2, 2, 2, 2});
}

TEST_CASE("copy_from refuses a destination with several indices for one element, fill takes it") {
  Tensor a = iota({4});
  CHECK_THROWS_AS(a.as_strided({3, 4}, {0, 1}).copy_from(iota({3, 4})), ShapeError);
  CHECK_THROWS_AS(a.as_strided({2, 3}, {1, 1}).copy_from(iota({2, 3})), ShapeError);
  CHECK(a.to_vector() == std::vector<double>{0, 1, 2, 3});
  a.as_strided({5}, {0}, 1).fill(9);
  CHECK(a.to_vector() == std::vector<double>{0, 9, 2, 3});
}

TEST_CASE("full and copy_from saturate as cast does") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(Tensor::full({}, 300, DType::u8).item() == 255);
  CHECK(Tensor::full({}, -5, DType::u8).item() == 0);
  CHECK(Tensor::full({}, nan, DType::i32).item() == 0);
  Tensor u = Tensor::empty({3}, DType::u8);
  u.copy_from(Tensor::from<double>({1e9, -1e9, nan}, {3}));
  CHECK(u.to_vector() == std::vector<double>{255, 0, 0});
  u.copy_from(Tensor::from<int64_t>({256, -1, 7}, {3}));
  CHECK(u.to_vector() == std::vector<double>{255, 0, 7});
}

TEST_CASE("a frozen tensor is a copy that no handle and no view can write to") {
  Tensor source = Tensor::from<float>({1, 2, 3, 4}, {2, 2});
  Tensor t = source.frozen();
  source.fill(7);
  const std::vector<double> values{1, 2, 3, 4};
  Tensor view = t.as_strided({4}, {1}), handle = t, detached = t.detach();
  CHECK_THROWS_WITH(t.fill(0), Catch::Contains("frozen") && Catch::Contains("f32[2,2]"));
  CHECK_THROWS_AS(view.fill(0), ValueError);
  CHECK_THROWS_AS(detached.copy_from(source), ValueError);
  CHECK_THROWS_AS(handle.mutable_data<float>(), ValueError);
  CHECK_THROWS_AS(t.mutable_view(), ValueError);
  CHECK(t.to_vector() == values);
  CHECK(t.frozen().id() == t.id());
  CHECK(!Tensor().frozen());
  Tensor copy = t.clone();
  copy.fill(5);
  CHECK(t.to_vector() == values);
}

TEST_CASE("fill refuses numbers that the dtype can only hold as infinity") {
  const double inf = std::numeric_limits<double>::infinity();
  for (const DType t : {DType::f32, DType::bf16}) {
    CHECK_THROWS_WITH(Tensor::full({2}, 1e300, t), Catch::Contains("1e+300") && Catch::Contains(std::string(name(t))));
    CHECK_THROWS_AS(Tensor::zeros({2}, t).fill(-1e39), ValueError);
    CHECK(Tensor::full({}, -inf, t).item() == -inf);
    CHECK(Tensor::full({}, 1e-300, t).item() == 0);
  }
  CHECK(Tensor::full({}, 1e300, DType::f64).item() == 1e300);
  CHECK(Tensor::full({}, 1e300, DType::u8).item() == 255);
}

TEST_CASE("numbers that name no dtype, memory format or device type are refused") {
  CHECK_THROWS_WITH(Tensor::empty({2}, DType(77)), Catch::Contains("77"));
  CHECK_THROWS_AS(Tensor::empty({2}, DType(77)), DTypeError);
  CHECK_THROWS_AS(Tensor::empty({1, 1, 1, 1}, DType::f32, Device::cpu(), MemoryFormat(9)), ValueError);
  CHECK_THROWS_AS(Tensor::empty({2}, DType::f32, Device{DeviceType(7), 0}), DeviceError);
  CHECK_THROWS_AS(device_count(DeviceType(7)), DeviceError);
}

TEST_CASE("copies of codes keep the gaps behind their pixels, other copies have none") {
  const Strides pixels{16, 1, 8, 4};
  const Tensor plain = Tensor::full({32}, 5, DType::u8).as_strided({2, 3, 2, 2}, pixels);
  const Tensor codes = plain.with_qparams({0.25f, 7}), copy = codes.clone();
  CHECK(copy.strides() == pixels);
  CHECK(copy.to_vector() == codes.to_vector());
  CHECK(copy.as_strided({32}, {1}).numel() == 32);  // the bytes behind the last pixel are there
  const Tensor pixel = Tensor::zeros({4}, DType::u8).as_strided({1, 3, 1, 1}, {4, 1, 4, 4}).with_qparams({0.25f, 7});
  CHECK(pixel.clone().as_strided({4}, {1}).numel() == 4);
  CHECK(plain.clone().is_contiguous());
  CHECK(codes.as_strided({2, 2}, {0, 1}).clone().is_contiguous());  // of one element, two
}

TEST_CASE("a tensor of codes knows what they stand for, and so do its views and copies") {
  const QParams q{0.25f, 7};
  const Tensor plain = Tensor::full({2, 3}, 9, DType::u8), x = plain.with_qparams(q);
  CHECK_FALSE(plain.qparams());
  CHECK(x.storage() == plain.storage());
  for (const Tensor& t : {x, x.clone(), x.detach(), x.frozen(), x.as_strided({3}, {1}), x.to(Device::cpu())}) {
    REQUIRE(t.qparams());
    CHECK(*t.qparams() == q);
    CHECK(t.to_vector()[0] == 9);
  }
  CHECK_FALSE(Tensor::empty_like(x).qparams());
  CHECK(Tensor::zeros({2}, DType::i32).with_qparams(q).qparams() == q);
  CHECK_THROWS_AS(Tensor::zeros({2}).with_qparams(q), DTypeError);
}
