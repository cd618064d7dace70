#include "ops/elementwise.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <numbers>

#include "ops/layout.h"
#include "tests/support/catch.h"
#include "tests/support/kernel_operands.h"
#include "tests/support/random_tensors.h"
#include "tests/support/run_kernel.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

constexpr Device kCpu{};
const double kNan = std::numeric_limits<double>::quiet_NaN();

// The formulas once more, in the simplest form.
const std::map<std::string, std::function<double(double)>> kUnary = {
    {"neg", [](double x) { return -x; }},
    {"exp", [](double x) { return std::exp(x); }},
    {"log", [](double x) { return std::log(x); }},
    {"sqrt", [](double x) { return std::sqrt(x); }},
    {"square", [](double x) { return x * x; }},
    {"abs", [](double x) { return std::fabs(x); }},
    {"relu", [](double x) { return x > 0 ? x : 0; }},
    {"relu6", [](double x) { return x > 6   ? 6
                                    : x > 0 ? x
                                            : 0; }},
    {"sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }},
    {"tanh", [](double x) { return std::tanh(x); }},
    {"gelu", [](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); }},
    {"silu", [](double x) { return x / (1 + std::exp(-x)); }},
    {"hardswish", [](double x) { return x * std::min(std::max(x + 3, 0.0), 6.0) / 6; }},
};
const std::map<std::string, std::function<double(double, double)>> kBinary = {
    {"add", [](double a, double b) { return a + b; }},
    {"sub", [](double a, double b) { return a - b; }},
    {"mul", [](double a, double b) { return a * b; }},
    {"div", [](double a, double b) { return a / b; }},
    {"add_scalar", [](double a, double b) { return a + b; }},
    {"mul_scalar", [](double a, double b) { return a * b; }},
    {"leaky_relu", [](double a, double b) { return a > 0 ? a : a * b; }},
};

// The maths library is within a few units of the last place of the operands and the result.
void check_close(double y, double expected, double operands, DType t) {
  if (std::isnan(expected)) {
    CHECK(std::isnan(y));
  } else if (!(std::abs(y - expected) <= 8 * unit_roundoff(t) * (std::abs(expected) + operands))) {
    CHECK(y == expected);
  }
}

// `x` seen with a shape that it broadcasts to, row-major.
std::vector<double> broadcast_values(const Tensor& x, const Shape& shape) {
  const std::vector<double> values = x.to_vector();
  std::vector<double> out;
  for (int64_t i = 0; i < numel(shape); ++i) {
    int64_t rest = i, from = 0, stride = 1;
    for (int d = shape.rank() - 1; d >= 0; --d) {
      const int own = d - (shape.rank() - x.rank());
      if (own >= 0) {
        if (x.shape()[own] != 1) from += rest % shape[d] * stride;
        stride *= x.shape()[own];
      }
      rest /= shape[d];
    }
    out.push_back(values[size_t(from)]);
  }
  return out;
}

constexpr DType kFloating[] = {DType::f32, DType::f64, DType::bf16};

}  // namespace

TEST_CASE("unary ops follow their formulas on any layout") {
  const uint64_t s = test_seed();
  INFO("seed " << s);
  RandomTensors random(s);
  for (const DType t : kFloating)
    for (int trial = 0; trial < 40; ++trial) {
      const Tensor x = random.tensor(random.shape(), t);
      const std::vector<double> in = x.to_vector();
      op::for_each_functor(op::UnaryOps(), [&]<class Op>() {
        INFO(Op::op << " " << name(t) << x.shape() << x.strides());
        const Tensor y = unary<Op>(x);
        CHECK(y.shape() == x.shape());
        CHECK(y.dtype() == t);
        const std::vector<double> out = y.to_vector();
        for (size_t i = 0; i < in.size(); ++i) check_close(out[i], kUnary.at(Op::op)(in[i]), std::abs(in[i]), t);
      });
    }
}

TEST_CASE("binary ops broadcast operands of any layouts") {
  const uint64_t s = test_seed();
  INFO("seed " << s);
  RandomTensors random(s);
  for (const DType t : kFloating)
    for (int trial = 0; trial < 60; ++trial) {
      const Shape shape = random.shape();
      Tensor a = random.tensor(random.chance(0.5) ? shape : random.broadcastable(shape), t);
      Tensor b = random.tensor(a.shape() == shape ? random.broadcastable(shape) : shape, t);
      if (random.chance(0.5)) std::swap(a, b);
      const auto in_a = broadcast_values(a, shape), in_b = broadcast_values(b, shape);
      op::for_each_functor(op::BinaryOps(), [&]<class Op>() {
        INFO(Op::op << " " << name(t) << a.shape() << a.strides() << " " << b.shape() << b.strides());
        const Tensor y = binary<Op>(a, b);
        REQUIRE(y.shape() == shape);
        const std::vector<double> out = y.to_vector();
        for (size_t i = 0; i < out.size(); ++i)
          check_close(out[i], kBinary.at(Op::op)(in_a[i], in_b[i]), std::abs(in_a[i]) + std::abs(in_b[i]), t);
      });
    }
}

TEST_CASE("ops with a number") {
  const Tensor x = Tensor::from<float>({1, -2, 4}, {3});
  CHECK((x + 1).to_vector() == std::vector<double>{2, -1, 5});
  CHECK((1 + x).to_vector() == std::vector<double>{2, -1, 5});
  CHECK((x - 1).to_vector() == std::vector<double>{0, -3, 3});
  CHECK((1 - x).to_vector() == std::vector<double>{0, 3, -3});
  CHECK((x * 3).to_vector() == std::vector<double>{3, -6, 12});
  CHECK((3 * x).to_vector() == std::vector<double>{3, -6, 12});
  CHECK((x / 4).to_vector() == std::vector<double>{0.25, -0.5, 1});
  CHECK((4 / x).to_vector() == std::vector<double>{4, -2, 1});
  CHECK((-x).to_vector() == std::vector<double>{-1, 2, -4});
}

namespace {

constexpr double kLargest = 7;  // operand of the kernels below

enum class Results { numbers, any };  // any: NaN and infinities too

// For for_each_kernel(): a kernel that takes the call make(y) must write all of y, nothing else, and give the bits of
// the CPU's last one (the reference), any NaN where that gives one; a device whose maths library is another, the same
// but for rounding.
template <class Make>
auto gives_bits_of_reference(int64_t n, DType t, const Make& make, Results results = Results::numbers) {
  using Args = decltype(make(View()));
  Guarded reference({n}, t);
  REQUIRE(run_kernel(kCpu, kernels<Args>().candidates(kCpu.type).back(), make(reference.view())));
  return [=, expected = reference.values()](Device device, const Kernel<Args>& kernel) {
    INFO(std::string_view(Args::op) << " " << to_string(device) << " " << kernel.name << " " << name(t) << " n " << n);
    Guarded out({n}, t);
    if (!run_kernel(device, kernel, make(out.view()))) return;
    const std::vector<double> y = out.values();
    for (size_t i = 0; i < y.size(); ++i) {
      if (results == Results::numbers && std::isnan(y[i])) FAIL("an element is not written");
      if (std::isnan(expected[i]) && std::isnan(y[i])) continue;
      if (device.type == DeviceType::cuda && std::isfinite(expected[i]))
        check_close(y[i], expected[i], 3 * kLargest, t);
      else if (std::memcmp(&y[i], &expected[i], sizeof(double)) != 0)
        FAIL("element " << i << " is " << y[i] << ", the reference's " << expected[i]);
    }
  };
}

}  // namespace

TEST_CASE("every elementwise kernel has the bits of the reference, writes all of its output and nothing else") {
  const uint64_t s = test_seed();
  INFO("seed " << s);
  RandomTensors random(s);
  for (const DType t : kFloating)
    for (const int64_t n : {0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 100, 40000}) {
      const auto values = [&] {
        Tensor v = Tensor::empty({n}, t);
        v.copy_from(random.away_from_zero({n}, 0.1, kLargest, true));
        return v;
      };
      const Tensor a = values(), b = values(), c = values();
      Tensor mixed = Tensor::empty({n}, t);  // of both signs
      mixed.copy_from(random.away_from_zero({n}, 0.1, kLargest));
      op::for_each_functor(op::UnaryOps(), [&]<class F>() {
        for_each_kernel<op::UnaryFwd<F>>(gives_bits_of_reference(n, t, [&](View y) {
          return op::UnaryFwd<F>{a.view(), y};
        }));
        for_each_kernel<op::UnaryBwd<F>>(gives_bits_of_reference(n, t, [&](View y) {
          return op::UnaryBwd<F>{a.view(), b.view(), y};
        }));
      });
      op::for_each_functor(op::BinaryOps(), [&]<class F>() {
        for_each_kernel<op::BinaryFwd<F>>(gives_bits_of_reference(n, t, [&](View y) {
          return op::BinaryFwd<F>{a.view(), b.view(), y};
        }));
        if constexpr (F::da_reads)
          for_each_kernel<op::BinaryBwdA<F>>(gives_bits_of_reference(n, t, [&](View y) {
            return op::BinaryBwdA<F>{a.view(), b.view(), c.view(), y};
          }));
        if constexpr (F::db_reads)
          for_each_kernel<op::BinaryBwdB<F>>(gives_bits_of_reference(n, t, [&](View y) {
            return op::BinaryBwdB<F>{a.view(), b.view(), c.view(), y};
          }));
      });
      op::for_each_functor(op::ScalarOps(), [&]<class F>() {
        for_each_kernel<op::Scalar<F>>(gives_bits_of_reference(n, t, [&](View y) {
          return op::Scalar<F>{mixed.view(), 1.3, y};
        }));
        if constexpr (op::CurvedScalarOps::contains<F>)
          for_each_kernel<op::ScalarBwd<F>>(gives_bits_of_reference(n, t, [&](View y) {
            return op::ScalarBwd<F>{mixed.view(), b.view(), 1.3, y};
          }));
      });
      op::for_each_functor(op::VectorUnaryOps(), [&]<class F>() {
        const auto make = [&](View y) { return op::UnaryFwd<F>{mixed.view(), y}; };
        const Results results = std::is_same_v<F, op::Log> ? Results::any : Results::numbers;
        for_each_kernel<op::UnaryFwd<F>>(gives_bits_of_reference(n, t, make, results));
      });
    }
}

TEST_CASE("vector kernels give the reference's bits at the ends of f32, NaN for NaN") {
  const float inf = std::numeric_limits<float>::infinity(), tiny = std::numeric_limits<float>::denorm_min();
  const std::vector<float> ends{0.0f, -0.0f, tiny,        -tiny, 1e-39f, -1e-39f, 1.17549435e-38f, 3.4e38f, -3.4e38f,
                                inf,  -inf,  float(kNan), 1.0f,  -1.0f,  14.3f,   -14.3f,          89.0f,   -104.0f};
  std::vector<float> values;
  for (int i = 0; i < 40; ++i) values.insert(values.end(), ends.begin(), ends.end());
  const int64_t n = int64_t(values.size());
  const Tensor x = Tensor::from<float>(values, {n}), gy = Tensor::full({n}, 1.0);
  op::for_each_functor(op::VectorUnaryOps(), [&]<class F>() {
    const auto fwd = [&](View y) { return op::UnaryFwd<F>{x.view(), y}; };
    const auto bwd = [&](View gx) { return op::UnaryBwd<F>{x.view(), gy.view(), gx}; };
    for_each_kernel<op::UnaryFwd<F>>(gives_bits_of_reference(n, DType::f32, fwd, Results::any));
    for_each_kernel<op::UnaryBwd<F>>(gives_bits_of_reference(n, DType::f32, bwd, Results::any));
  });
}

TEST_CASE("vector kernels refuse what they cannot do") {
  const auto& relu = kernels<op::UnaryFwd<op::Relu>>().candidates(kCpu.type);
  REQUIRE(relu.size() > 1);
  Tensor x = Tensor::zeros({4, 6}), y = Tensor::zeros({6, 4});
  CHECK(relu.front().refusal({transpose(x, 0, 1).view(), y.mutable_view()}));
  Tensor x64 = Tensor::zeros({8}, DType::f64), y64 = Tensor::zeros({8}, DType::f64);
  CHECK(relu.front().refusal({x64.view(), y64.mutable_view()}));
}

TEST_CASE("elementwise results keep the memory order") {
  const Tensor x = contiguous(Tensor::full({2, 3, 4, 5}, 1), MemoryFormat::channels_last);
  CHECK(relu(x).is_channels_last());
  CHECK((x + x).is_channels_last());
  CHECK((x * Tensor::full({3, 1, 1}, 2)).is_channels_last());
  CHECK((Tensor::full({3, 1, 1}, 2) * x).is_channels_last());
  CHECK((x * 2).is_channels_last());
  Tensor leaf = x.clone().set_requires_grad(true);
  relu(leaf).backward(x);
  CHECK(leaf.grad().is_channels_last());
}

TEST_CASE("elementwise ops at the edges of their range") {
  const double inf = std::numeric_limits<double>::infinity();
  for (const DType t : kFloating) {
    Tensor x = Tensor::empty({5}, t);
    x.copy_from(Tensor::from<double>({-inf, -1000, 1000, inf, kNan}, {5}));
    const auto check = [&](const Tensor& y, const std::vector<double>& expected) {
      const auto values = y.to_vector();
      for (size_t i = 0; i < expected.size(); ++i)
        CHECK((values[i] == expected[i] || (std::isnan(values[i]) && std::isnan(expected[i]))));
    };
    check(sigmoid(x), {0, 0, 1, 1, kNan});
    check(tanh(x), {-1, -1, 1, 1, kNan});
    check(relu(x), {0, 0, x.to_vector()[2], inf, kNan});
    check(relu6(x), {0, 0, 6, 6, kNan});
    check(hardswish(x), {0, 0, x.to_vector()[2], inf, kNan});
    check(leaky_relu(x, 0.5), {-inf, -500, x.to_vector()[2], inf, kNan});
  }
  // Far out on the left gelu keeps its digits: x Phi(x) = -6 * 9.8658764503769814e-10.
  CHECK(gelu(Tensor::full({1}, -6, DType::f64)).item() == Approx(-5.9195258702261889e-09).epsilon(1e-12));
  // Gradients at the kinks are 0.
  Tensor zero = Tensor::zeros({1}).set_requires_grad(true);
  (relu(zero) + relu6(zero) + abs(zero)).backward();
  CHECK(zero.grad().item() == 0);
}

TEST_CASE("elementwise ops keep only what their gradient reads") {
  Tensor x = Tensor::full({3}, 2).set_requires_grad(true);
  Tensor other = Tensor::full({3}, 5);
  {
    Tensor h = x * 1;
    const Tensor out = relu(h);
    h.fill(-1);  // relu keeps its result, so its operand may be overwritten
    out.backward(other);
    CHECK(x.grad().to_vector() == std::vector<double>{5, 5, 5});
  }
  {
    Tensor out = relu(x * 1);
    out.fill(7);
    CHECK_THROWS_AS(out.backward(other), AutogradError);
  }
  {
    x.set_grad({});
    Tensor constant = other.clone();
    Tensor h = x * 1;
    const Tensor out = h * constant;
    h.fill(0);  // only the constant is read for d/dh
    out.backward(other);
    CHECK(x.grad().to_vector() == std::vector<double>{25, 25, 25});
  }
}

TEST_CASE("elementwise ops reject what they do not take") {
  const Tensor a = Tensor::zeros({2, 3}), b = Tensor::zeros({2, 4});
  CHECK_THROWS_AS(a + b, ShapeError);
  CHECK_THROWS_WITH(a * b, Catch::Contains("mul") && Catch::Contains("[2,3]") && Catch::Contains("[2,4]"));
  CHECK_THROWS_AS(a + Tensor::zeros({2, 3}, DType::f64), DTypeError);
  CHECK_THROWS_AS(relu(Tensor::zeros({2}, DType::i32)), DTypeError);
  CHECK_THROWS_AS(relu(Tensor()), Error);
}

TEST_CASE("elementwise ops are traced by name, numbers as attributes") {
  struct Names : Tracer {
    std::vector<std::string> names;
    Attrs last;
    void record(std::string_view op, std::span<const Tensor>, const Attrs& attrs, const Tensor&) override {
      names.emplace_back(op);
      last = attrs;
    }
  } tracer;
  const TracerGuard guard(tracer);
  const Tensor x = Tensor::full({2}, 1);
  (void)(relu(sigmoid(x) * 3) + x);
  CHECK(tracer.names == std::vector<std::string>{"sigmoid", "mul_scalar", "relu", "add"});
  (void)(x - 2);
  CHECK(tracer.last == Attrs{{"value", -2.0}});
}

TEST_CASE("the gradient at NaN is not hidden") {
  for (const DType t : kFloating)
    for (const bool flat : {true, false}) {  // by the vector kernels, and by the reference
      const auto gradient = [&](Tensor (*op)(const Tensor&)) {
        Tensor x = Tensor::full({32}, kNan, t);
        x.set_requires_grad(true);
        const Tensor gy = Tensor::full({flat ? 32 : 1}, 3, t);
        op(x).backward(flat ? gy : expand(gy, {32}));
        return x.grad().to_vector()[7];
      };
      CHECK(gradient(relu) == 3);
      CHECK(gradient(relu6) == 3);
      CHECK(std::isnan(gradient(abs)));
    }
}

TEST_CASE("values and gradients do not overflow or vanish where the result is a number") {
  const double inf = std::numeric_limits<double>::infinity();
  const auto leaf = [](double v) {
    Tensor x = Tensor::full({1}, v);
    x.set_requires_grad(true);
    return x;
  };
  // d(a/b)/da = 1/b and d(a/b)/db = -a/b^2, times gy.
  const struct {
    double a, b, gy;
  } quotients[] = {{1e20, 1e20, 1},    {1e-30, 1e-30, 1}, {1, 1e-20, 1e-30},
                   {1e38, 1e20, 1e20}, {2, 1e-39, 1e-5},  {1e20, 1e-30, 0}};
  for (const auto& [a, b, gy] : quotients) {
    Tensor x = leaf(a), y = leaf(b);
    INFO(a << " / " << b << ", gradient " << gy);
    (x / y).backward(Tensor::full({1}, gy));
    CHECK(x.grad().item() == Approx(gy / b).epsilon(1e-5));
    if (b > 1e-38) CHECK(y.grad().item() == Approx(-gy * (a / b) / b).epsilon(1e-5));
  }
  Tensor s = leaf(2e38);
  square(s).backward(Tensor::full({1}, 1e-10));
  CHECK(s.grad().item() == Approx(4e28));
  CHECK((Tensor::full({1}, 1e-10) / 1e-40).item() == Approx(1e30));
  for (const auto op : {gelu, silu}) {
    Tensor low = leaf(-inf), high = leaf(inf), far = leaf(-1e30);
    const Tensor y_low = op(low), y_high = op(high), y_far = op(far);
    CHECK(y_low.item() == 0);
    CHECK(y_high.item() == inf);
    CHECK(y_far.item() == 0);
    for (const Tensor& y : {y_low, y_high, y_far}) y.backward();
    CHECK(low.grad().item() == 0);
    CHECK(high.grad().item() == 1);
    CHECK(far.grad().item() == 0);
    CHECK(std::isnan(op(Tensor::full({1}, kNan)).item()));
  }
}

TEST_CASE("gradients of sigmoid, tanh, gelu and silu keep their digits for large numbers") {
  const auto check = [](auto op, double x, double expected) {
    for (const DType t : {DType::f32, DType::f64}) {
      INFO(name(t) << ' ' << x);
      Tensor in = Tensor::full({}, x, t).set_requires_grad(true);
      op(in).backward();
      CHECK(in.grad().item() == Approx(expected).epsilon(t == DType::f32 ? 1e-6 : 1e-13));
    }
  };
  for (const double x : {0.0, 0.5, 5.0, 20.0, 40.0}) {
    const double e = std::exp(-x), s = 1 / (1 + e), rest = e / (1 + e);
    for (const double sign : {1.0, -1.0}) {
      check(unary<op::Sigmoid>, sign * x, s * rest);
      check(unary<op::Tanh>, sign * x, 1 / (std::cosh(x) * std::cosh(x)));
    }
    check(unary<op::Silu>, x, s * (1 + x * rest));
    check(unary<op::Silu>, -x, rest * (1 - x * s));
    if (x > 12) continue;  // e^(-x^2 / 2) is no float any more
    const double density = std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi),
                 tail = std::erfc(x / std::sqrt(2.0)) / 2;
    check(unary<op::Gelu>, x, 1 - tail + x * density);
    check(unary<op::Gelu>, -x, tail - x * density);
  }
}
