#include "ops/optimizer.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/parallel.h"
#include "core/random.h"
#include "tests/support/catch.h"
#include "tests/support/run_kernel.h"

using namespace mininn;
using testing::for_each_kernel;
using testing::run_kernel;

namespace {

// n random numbers between guards, so that a write beside them shows.
struct Guarded {
  static constexpr size_t kGuard = 16;
  std::vector<float> v;
  Guarded(int64_t n, Generator& g, bool positive = false) : v(size_t(n) + 2 * kGuard, 12345.0f) {
    for (size_t i = 0; i < size_t(n); ++i) v[kGuard + i] = float(positive ? std::abs(g.normal()) : g.normal());
  }
  View view() {
    const int64_t n = int64_t(v.size() - 2 * kGuard);
    return {reinterpret_cast<std::byte*>(v.data() + kGuard), {n}, {1}, DType::f32};
  }
  bool operator==(const Guarded& o) const { return std::memcmp(v.data(), o.v.data(), v.size() * sizeof(float)) == 0; }
};

// 0, tails around the tile of 8, and enough for two threads.
const int64_t kSizes[] = {0, 1, 7, 8, 9, 15, 16, 17, 1000, 40003};

}  // namespace

TEST_CASE("sgd_update: every kernel equals the written definition to the bit") {
  for_each_kernel<op::SgdUpdate>([&](Device device, const auto& kernel) {
    for (const int64_t n : kSizes)
      for (const int flags : {0, 1, 3, 5}) {  // 1: buffer, 2: first, 4: nesterov
        INFO(to_string(device) << ' ' << kernel.name << ", n " << n << ", flags " << flags);
        Generator g(uint64_t(n) * 8 + uint64_t(flags));
        Guarded p(n, g), b(n, g);
        const Guarded grad(n, g);
        if (flags & 2)
          for (size_t i = 0; i < size_t(n); ++i) b.v[Guarded::kGuard + i] = std::numeric_limits<float>::quiet_NaN();
        op::SgdUpdate a{.n = n,
                        .param = p.view(),
                        .buffer = flags & 1 ? b.view() : View(),
                        .first = bool(flags & 2),
                        .nesterov = bool(flags & 4),
                        .lr = 0.1,
                        .momentum = 0.9,
                        .dampening = 0.25,
                        .weight_decay = 0.01};
        Guarded grad_copy = grad, want_p = p, want_b = b;
        a.grad = grad_copy.view();
        for (size_t i = Guarded::kGuard; i < Guarded::kGuard + size_t(n); ++i) {
          float d = grad.v[i] + 0.01f * want_p.v[i];
          if (flags & 1) {
            want_b.v[i] = flags & 2 ? d : 0.9f * want_b.v[i] + 0.75f * d;
            d = flags & 4 ? d + 0.9f * want_b.v[i] : want_b.v[i];
          }
          want_p.v[i] -= 0.1f * d;
        }
        if (!run_kernel(device, kernel, a)) continue;
        CHECK(p == want_p);
        CHECK(b == want_b);
        CHECK(grad_copy == grad);
      }
  });
}

TEST_CASE("adam_update: every kernel equals the written definition to the bit") {
  for_each_kernel<op::AdamUpdate>([&](Device device, const auto& kernel) {
    for (const int64_t n : kSizes) {
      INFO(to_string(device) << ' ' << kernel.name << ", n " << n);
      Generator g(uint64_t(n) + 1);
      Guarded p(n, g), m(n, g), v(n, g, true), grad(n, g);
      Guarded want_p = p, want_m = m, want_v = v;
      const op::AdamUpdate a{.n = n,
                             .param = p.view(),
                             .grad = grad.view(),
                             .m = m.view(),
                             .v = v.view(),
                             .l2 = 0.01,
                             .keep = 0.99,
                             .beta1 = 0.75,
                             .beta2 = 0.5,
                             .eps = 1e-6,
                             .step_size = 0.125,
                             .v_scale = 0.3};
      for (size_t i = Guarded::kGuard; i < Guarded::kGuard + size_t(n); ++i) {
        const float d = grad.v[i] + 0.01f * p.v[i];
        want_m.v[i] = m.v[i] + 0.25f * (d - m.v[i]);
        want_v.v[i] = 0.5f * v.v[i] + 0.5f * (d * d);
        want_p.v[i] = 0.99f * p.v[i] - 0.125f * want_m.v[i] / (std::sqrt(want_v.v[i]) / 0.3f + 1e-6f);
      }
      if (!run_kernel(device, kernel, a)) continue;
      CHECK(p == want_p);
      CHECK(m == want_m);
      CHECK(v == want_v);
    }
  });
}

TEST_CASE("updates follow the parameter's memory order") {
  Tensor p = Tensor::empty({1, 2, 2, 1}, DType::f32, Device::cpu(), MemoryFormat::channels_last);
  p.fill(0);
  Tensor none;
  sgd_update(p, Tensor::from<float>({1, 2, 3, 4}, {1, 2, 2, 1}), none, {.lr = 1});
  CHECK(p.to_vector() == std::vector<double>{-1, -2, -3, -4});
}

TEST_CASE("updates refuse operands that do not fit") {
  Tensor p = Tensor::zeros({2, 3}), none, m = Tensor::zeros({2, 3}), v = Tensor::zeros({2, 3});
  const Tensor g = Tensor::zeros({2, 3});
  CHECK_THROWS_AS(sgd_update(p, Tensor::zeros({3, 2}), none, {}), ShapeError);
  CHECK_THROWS_AS(sgd_update(p, Tensor::zeros({2, 3}, DType::f64), none, {}), DTypeError);
  Tensor transposed = Tensor::zeros({3, 2}).as_strided({2, 3}, {1, 2});
  CHECK_THROWS_AS(sgd_update(transposed, g, none, {}), ShapeError);
  CHECK_THROWS_AS(sgd_update(p, g, transposed, {}), ShapeError);
  Tensor integers = Tensor::zeros({2, 3}, DType::i32);
  CHECK_THROWS_AS(sgd_update(integers, integers, none, {}), DTypeError);
  Tensor small = Tensor::zeros({6});
  CHECK_THROWS_AS(adam_update(p, g, m, small, {}), ShapeError);
  CHECK_THROWS_AS(adam_update(p, g, integers, v, {}), DTypeError);
}

TEST_CASE("updates refuse coefficients that are not finite and state that shares memory") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  Tensor p = Tensor::zeros({4}), none, m = Tensor::zeros({4}), v = Tensor::zeros({4}), all = Tensor::zeros({8});
  const Tensor g = Tensor::full({4}, 1);
  CHECK_THROWS_AS(sgd_update(p, g, none, {.lr = nan}), ValueError);
  CHECK_THROWS_AS(sgd_update(p, g, none, {.weight_decay = inf}), ValueError);
  CHECK_THROWS_AS(adam_update(p, g, m, v, {.step_size = inf}), ValueError);
  CHECK_THROWS_AS(adam_update(p, g, m, m, {}), ValueError);
  CHECK_THROWS_AS(sgd_update(p, g, p, {.momentum = 0.5}), ValueError);
  CHECK(p.to_vector() == std::vector<double>(4, 0));

  // The gradient is read before anything is written.
  for (int i = 0; i < 8; ++i) all.mutable_data<float>()[size_t(i)] = float(i);
  Tensor low = all.as_strided({7}, {1}, 1);
  sgd_update(low, all.as_strided({7}, {1}), none, {.lr = 1});
  CHECK(all.to_vector() == std::vector<double>{0, 1, 1, 1, 1, 1, 1, 1});
}
