// What holds for convolution kernels whatever the shape: equal bits with any number of threads and in any batch, which
// kernel is taken, extreme sizes and numbers.
#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "cpu_kernels/common/cpu_features.h"
#include "tests/cpu_kernels/conv2d_case.h"

namespace mininn::testing::conv2d {
namespace {

bool has_vendor() {
  for (const auto& kernel : kernels<op::Conv2dFwd>().candidates(DeviceType::cpu))
    if (kernel.traits.family == Family::vendor) return true;
  return false;
}

TEST_CASE("own conv2d kernels give the same bits on six threads as on one") {
  Generator r(testing::test_seed());
  const Case c = GENERATE(make({9, 40, 12, 12}, {70, 40, 3, 3}, {.padding = 1}),   // few products: along rows
                          make({24, 160, 8, 8}, {40, 160, 3, 3}, {.padding = 1}),  // many: by blocks of images
                          make({33, 40, 8, 8}, {512, 40, 1, 1}),                   // many panels
                          make({9, 16, 12, 40}, {40, 16, 3, 3}, {.stride = 2, .padding = 1}),
                          make({1, 64, 1, 3000}, {60, 64, 1, 1}, {}),  // one row
                          make({5, 70, 9, 20}, {70, 1, 3, 3}, {.padding = 1, .groups = 70}),
                          make({9, 3, 12, 20}, {70, 3, 3, 3}, {.padding = 1}),  // a row of the kernel as one tap
                          make({9, 40, 7, 9}, {200, 40, 1, 1}, {.stride = 2}));
  const DType dtype = GENERATE(DType::f32, DType::bf16);
  INFO(c.g.ih << "x" << c.g.iw << ' ' << name(dtype));
  const Operands o(c, dtype, DType::f32, r);
  const int before = num_threads();
  const auto check_bits = [&](Device device, const auto& kernel, const Tensor& like, MemoryFormat format,
                              const auto& args) {
    if (device.type != DeviceType::cpu || kernel.traits.family != Family::own) return;
    INFO(kernel.name);
    std::optional<reference::Values> first;
    for (const int threads : {1, 6}) {
      set_num_threads(threads);
      Guarded out(like.shape(), like.dtype(), format);
      if (!run_kernel(device, kernel, args(out.view()))) break;
      const reference::Values values = out.values();
      if (first) CHECK(values == *first);
      first = values;
    }
    set_num_threads(before);
  };
  for_each_kernel<op::Conv2dFwd>([&](Device device, const auto& kernel) {
    check_bits(device, kernel, o.gy, kChannelsLast, [&](View v) { return forward(c, o, v); });
  });
  for_each_kernel<op::Conv2dBwdData>([&](Device device, const auto& kernel) {
    check_bits(device, kernel, o.x, kChannelsLast, [&](View v) {
      return op::Conv2dBwdData{c.g, o.gy.view(), o.w.view(), v};
    });
  });
  for_each_kernel<op::Conv2dBwdWeights>([&](Device device, const auto& kernel) {
    check_bits(device, kernel, o.w, MemoryFormat::contiguous, [&](View v) {
      return op::Conv2dBwdWeights{c.g, o.x.view(), o.gy.view(), v};
    });
  });
}

TEST_CASE("which own kernel a conv2d takes does not depend on the batch") {
  for (const auto& [channels, size] : {std::pair<int64_t, int64_t>{3, 32}, {64, 32}, {256, 8}, {512, 4}, {16, 5}}) {
    const auto chosen = [&](int64_t n) {
      const Tensor x = Tensor::empty({n, channels, size, size}, DType::f32, Device::cpu(), kChannelsLast);
      const Tensor w = Tensor::empty({64, channels, 3, 3});
      const Case c = make(x.shape(), w.shape(), {.padding = 1});
      Tensor y = Tensor::empty({n, 64, size, size}, DType::f32, Device::cpu(), kChannelsLast);
      const PreferenceGuard own(Preference::own);
      return kernels<op::Conv2dFwd>()
          .select({c.g, x.view(), w.view(), {}, {}, false, y.mutable_view()}, Device::cpu())
          .name;
    };
    CHECK(chosen(1) == chosen(100));
  }
}

TEST_CASE("which own kernel a weight gradient takes does not depend on the number of threads") {
  const int before = num_threads();
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const auto& [in, out, kernel] : {std::array<int64_t, 3>{3, 64, 3}, {16, 16, 3}, {32, 32, 1}, {64, 64, 3}}) {
      const Tensor x = Tensor::empty({64, in, 16, 16}, dtype, Device::cpu(), kChannelsLast);
      const Case c = make(x.shape(), {out, in, kernel, kernel}, {.padding = kernel / 2});
      const Tensor gy = Tensor::empty({64, out, 16, 16}, dtype, Device::cpu(), kChannelsLast);
      Tensor gw = Tensor::empty({out, in, kernel, kernel});
      const PreferenceGuard own(Preference::own);
      const auto chosen = [&](int threads) {
        set_num_threads(threads);
        return kernels<op::Conv2dBwdWeights>()
            .select({c.g, x.view(), gy.view(), gw.mutable_view()}, Device::cpu())
            .name;
      };
      INFO(name(dtype) << ", " << in << " to " << out << " channels");
      for (const int threads : {2, 3, 7, 16, 64}) CHECK(chosen(threads) == chosen(1));
    }
  set_num_threads(before);
}

TEST_CASE("which kernel a conv2d takes follows what is preferred, and then what is faster") {
  const auto chosen = [](Preference preference, const Shape& x_shape, const Shape& w_shape, const Conv2dParams& o) {
    const Case c = make(x_shape, w_shape, o);
    const Tensor x = Tensor::empty(x_shape, DType::f32, Device::cpu(), kChannelsLast);
    const Tensor gy = Tensor::empty({c.g.n, c.g.oc, c.g.oh, c.g.ow}, DType::f32, Device::cpu(), kChannelsLast);
    Tensor w = Tensor::empty(w_shape), gx = x.clone(), y = gy.clone();
    const PreferenceGuard guard(preference);
    const Device cpu = Device::cpu();
    return std::array{
        kernels<op::Conv2dFwd>().select({c.g, x.view(), w.view(), {}, {}, false, y.mutable_view()}, cpu).name,
        kernels<op::Conv2dBwdData>().select({c.g, gy.view(), w.view(), gx.mutable_view()}, cpu).name,
        kernels<op::Conv2dBwdWeights>().select({c.g, x.view(), gy.view(), w.mutable_view()}, cpu).name};
  };
  const auto families = [&](const auto&... args) {
    std::string all;
    for (const std::string_view name : chosen(args...)) all += std::string(name.substr(0, name.find('.'))) + ' ';
    return all;
  };
  if (cpu::needs(cpu::Isa::avx2)) return;  // without it own kernels refuse
  const Shape x{8, 64, 16, 16}, w{128, 64, 3, 3};
  CHECK(families(Preference::automatic, x, w, Conv2dParams{.stride = 2, .padding = 1}) == "own own own ");
  for (const Preference p : {Preference::automatic, Preference::own}) {
    const std::string small = p == Preference::own || !has_vendor() ? "own own own " : "onednn onednn onednn ";
    CHECK(families(p, Shape{8, 32, 16, 16}, Shape{32, 1, 3, 3}, Conv2dParams{.padding = 1, .groups = 32}) == small);
    CHECK(families(p, Shape{8, 32, 16, 16}, Shape{64, 32, 1, 1}, Conv2dParams{}) == small);
    CHECK(families(p, Shape{8, 3, 16, 16}, Shape{64, 3, 3, 3}, Conv2dParams{.stride = 2, .padding = 1}) == small);
  }
  if (has_vendor()) CHECK(families(Preference::vendor, x, w, Conv2dParams{.padding = 1}) == "onednn onednn onednn ");
  CHECK(chosen(Preference::own, Shape{8, 3, 16, 16}, Shape{64, 3, 3, 3}, Conv2dParams{.padding = 1})[2].find(
            "winograd") == std::string_view::npos);
}

// Of the largest result: what Winograd's transforms cost where a direct sum loses less than 1e-6.
TEST_CASE("every conv2d kernel keeps five digits on the layers of ResNet-18") {
  Generator r(testing::test_seed());
  for (const auto& [channels, size] : {std::pair<int64_t, int64_t>{64, 16}, {128, 8}, {256, 8}, {512, 4}}) {
    const Case c = make({1, channels, size, size}, {64, channels, 3, 3}, {.padding = 1});
    const Operands o(c, DType::f32, r);
    const auto worst = [](const reference::Values& got, const reference::Sums& expected) {
      double error = 0, top = 0;
      for (size_t i = 0; i < got.size(); ++i) {
        error = std::max(error, std::abs(got[i] - expected[i].value));
        top = std::max(top, std::abs(expected[i].value));
      }
      return error / top;
    };
    const reference::Values x = o.x.to_vector(), w = o.w.to_vector(), gy = o.gy.to_vector();
    const auto y = reference::conv2d(c.g, x, w);
    for_each_kernel<op::Conv2dFwd>([&](Device device, const auto& kernel) {
      INFO("conv2d_fwd " << to_string(device) << ' ' << kernel.name << ": " << c);
      const auto got = run_guarded(device, kernel, o.gy, kChannelsLast, [&](View v) { return forward(c, o, v); });
      if (got) CHECK(worst(*got, y) <= 1e-5);
    });
    const auto gx = reference::conv2d_input_gradient(c.g, gy, w);
    for_each_kernel<op::Conv2dBwdData>([&](Device device, const auto& kernel) {
      INFO("conv2d_bwd_data " << to_string(device) << ' ' << kernel.name << ": " << c);
      const auto args = [&](View v) { return op::Conv2dBwdData{c.g, o.gy.view(), o.w.view(), v}; };
      if (const auto got = run_guarded(device, kernel, o.x, kChannelsLast, args)) CHECK(worst(*got, gx) <= 1e-5);
    });
    const auto gw = reference::conv2d_weight_gradient(c.g, x, gy);
    for_each_kernel<op::Conv2dBwdWeights>([&](Device device, const auto& kernel) {
      INFO("conv2d_bwd_weights " << to_string(device) << ' ' << kernel.name << ": " << c);
      const auto args = [&](View v) { return op::Conv2dBwdWeights{c.g, o.x.view(), o.gy.view(), v}; };
      if (const auto got = run_guarded(device, kernel, o.w, MemoryFormat::contiguous, args))
        CHECK(worst(*got, gw) <= 1e-5);
    });
  }
}

TEST_CASE("conv2d kernels handle extreme geometry") {
  Generator r(testing::test_seed());
  check_all(make({0, 5, 4, 4}, {7, 5, 3, 3}, {.padding = 1}), r);               // no images: the weight gradient is 0
  check_all(make({2, 6, 1, 1}, {4, 6, 3, 3}, {.padding = 1}), r);               // only the middle tap inside
  check_all(make({2, 6, 9, 9}, {4, 6, 2, 2}, {.stride = 4}), r);                // some inputs under no tap
  check_all(make({1, 3, 2, 2}, {5, 3, 1, 1}, {.stride = 3, .padding = 3}), r);  // whole outputs on padding
  check_all(make({1, 2, 3, 3}, {3, 2, 5, 5}, {.padding = 4}), r);               // kernel larger than the input
  check_all(make({2, 9, 6, 5}, {9, 1, 3, 3}, {.padding = 1, .groups = 9}), r);  // depthwise
  check_all(make({1, 2, 7, 7}, {2, 2, 3, 3}, {.padding = 3, .dilation = 3}), r);
}

TEST_CASE("own conv2d kernels give an image the same bits in any batch") {
  Generator r(testing::test_seed());
  for (const auto& [size, kernel, stride, groups] :
       {std::array<int64_t, 4>{4, 3, 1, 1}, {8, 3, 2, 1}, {8, 3, 1, 1}, {9, 1, 2, 1}, {8, 3, 1, 24}}) {
    const Conv2dParams o{.stride = stride, .padding = kernel / 2, .groups = groups};
    const Shape w{groups == 1 ? 40 : 24, 24 / groups, kernel, kernel};
    const Case batch = make({20, 24, size, size}, w, o);
    const Case image = make({1, 24, size, size}, w, o);
    const Operands all(batch, DType::f32, r);
    Operands one = all;
    const auto alone = [](const Tensor& t) {  // image 13
      const Shape& s = t.shape();
      return t.as_strided({1, s[1], s[2], s[3]}, t.strides(), 13 * s[1] * s[2] * s[3]);
    };
    one.x = alone(all.x);
    one.gy = alone(all.gy);
    const auto same = [&](const reference::Values& many, const reference::Values& single) {
      const auto begin = many.begin() + 13 * int64_t(single.size());
      CHECK(std::equal(single.begin(), single.end(), begin));
    };
    for_each_kernel<op::Conv2dFwd>([&](Device device, const auto& kernel_) {
      const auto args = [&](const Case& c, const Operands& operands) {
        return [&](View v) { return forward(c, operands, v); };
      };
      if (kernel_.traits.family != Family::own || testing::refuses(device, kernel_, args(batch, all)({}))) return;
      INFO("conv2d_fwd " << to_string(device) << ' ' << kernel_.name << ": " << batch);
      const Tensor packed = kernel_.pack ? testing::pack_kernel(device, kernel_, args(batch, all)({})) : Tensor();
      const auto many = run_guarded(device, kernel_, all.gy, kChannelsLast, args(batch, all));
      same(*many, *run_guarded(device, kernel_, one.gy, kChannelsLast, args(image, one)));
      same(*many, *run_guarded(device, kernel_, one.gy, kChannelsLast, args(image, one), packed));
    });
    for_each_kernel<op::Conv2dBwdData>([&](Device device, const auto& kernel_) {
      const auto args = [&](const Case& c, const Operands& operands) {
        return [&](View v) { return op::Conv2dBwdData{c.g, operands.gy.view(), operands.w.view(), v}; };
      };
      if (kernel_.traits.family != Family::own || testing::refuses(device, kernel_, args(batch, all)({}))) return;
      INFO("conv2d_bwd_data " << to_string(device) << ' ' << kernel_.name << ": " << batch);
      same(*run_guarded(device, kernel_, all.x, kChannelsLast, args(batch, all)),
           *run_guarded(device, kernel_, one.x, kChannelsLast, args(image, one)));
    });
  }
}

TEST_CASE("conv2d kernels pass NaN through ReLU") {
  const Case c{make({1, 1, 1, 1}, {1, 1, 3, 3}, {.padding = 1}).g, false, false, true};
  Generator r(1);
  Operands o(c, DType::f32, r);
  o.x.fill(std::numeric_limits<double>::quiet_NaN());
  for_each_kernel<op::Conv2dFwd>([&](Device device, const auto& kernel) {
    Tensor y = Tensor::zeros({1, 1, 1, 1});
    INFO(to_string(device) << ' ' << kernel.name);
    if (run_kernel(device, kernel, forward(c, o, y.mutable_view()))) CHECK(std::isnan(y.item()));
  });
}

TEST_CASE("a long sum keeps its digits in every conv2d kernel") {
  constexpr int64_t kTerms = 1 << 18;
  const auto check_sum = [](const auto& args) {
    return [args]<class Args>(Device device, const Kernel<Args>& kernel) {
      Tensor y = Tensor::zeros({1, 1, 1, 1});
      INFO(Args::op << ' ' << to_string(device) << ' ' << kernel.name);
      if (run_kernel(device, kernel, args(y.mutable_view()))) CHECK(y.item() == Approx(0.1 * kTerms).epsilon(2e-4));
    };
  };
  const auto full = [](const Shape& s, double v) { return Tensor::full(s, v); };
  const Tensor one = full({1, 1, 1, 1}, 1), many_in = full({1, kTerms, 1, 1}, 0.1),
               many_out = full({kTerms, 1, 1, 1}, 1), ones = full({1, kTerms, 1, 1}, 1),
               row = full({1, 1, 1, kTerms}, 0.1), row_of_ones = full({1, 1, 1, kTerms}, 1);
  for_each_kernel<op::Conv2dFwd>(check_sum([&](View y) {
    return op::Conv2dFwd{make(many_in.shape(), ones.shape()).g, many_in.view(), ones.view(), {}, {}, false, y};
  }));
  for_each_kernel<op::Conv2dBwdData>(check_sum([&](View y) {
    return op::Conv2dBwdData{make(one.shape(), many_out.shape()).g, many_in.view(), many_out.view(), y};
  }));
  for_each_kernel<op::Conv2dBwdWeights>(check_sum([&](View y) {
    return op::Conv2dBwdWeights{make(row.shape(), one.shape()).g, row.view(), row_of_ones.view(), y};
  }));
}

TEST_CASE("a long sum of one channel keeps its digits in own conv2d kernels") {
  const CpuOnly cases_of_its_kernels;
  constexpr int64_t kSide = 512;
  Tensor x = Tensor::empty({1, 2, kSide, kSide}, DType::f32, Device::cpu(), kChannelsLast);
  x.fill(0.1);
  const Tensor w = Tensor::full({2, 1, kSide, kSide}, 1);
  const Conv2dGeometry g = make(x.shape(), w.shape(), {.groups = 2}).g;
  for_each_kernel<op::Conv2dFwd>([&](Device device, const Kernel<op::Conv2dFwd>& kernel) {
    Tensor y = Tensor::zeros({1, 2, 1, 1});
    if (kernel.traits.family != Family::own) return;
    INFO(to_string(device) << ' ' << kernel.name);
    if (!run_kernel(device, kernel, {g, x.view(), w.view(), {}, {}, false, y.mutable_view()})) return;
    for (const double sum : y.to_vector()) CHECK(sum == Approx(0.1 * kSide * kSide).epsilon(2e-4));
  });
}

}  // namespace
}  // namespace mininn::testing::conv2d
