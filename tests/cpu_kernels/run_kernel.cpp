// What every parity test relies on: calls reach the other device and their results come back, and stray writes and
// forgotten elements show there.
#include "tests/support/run_kernel.h"

#include <cmath>
#include <string>
#include <vector>

#include "core/memory_ops.h"
#include "ops/qconv2d.h"
#include "tests/support/deferred_device.h"
#include "tests/support/kernel_operands.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

constexpr Device kDeferred{DeviceType::custom};

struct Twice {  // y = 2 x, f32
  static constexpr std::string_view op = "twice";
  CView x;
  View y;
};

// What kernels do, right and wrong.
void double_first(const Twice& a, int64_t count) {
  for (int64_t i = 0; i < count; ++i) a.y.as<float>()[i] = 2 * a.x.as<float>()[i];
}
void right(const Twice& a) { double_first(a, a.y.size()); }
void forgetful(const Twice& a) { double_first(a, a.y.size() - 1); }
void before_y(const Twice& a) { a.y.data[-1] = {}; }
void behind_y(const Twice& a) { a.y.data[a.y.size() * 4] = {}; }
void into_x(const Twice& a) { const_cast<std::byte*>(a.x.data)[5] = std::byte{1}; }

template <void (*kWork)(const Twice&)>
const Kernel<Twice> on_deferred{
    "own", kOwn, [](const Twice& a) { return Refusal{a.x ? nullptr : "x is absent"}; },
    [](const Twice& a, const ExecContext& at) { deferred::enqueue(at.stream, [a] { kWork(a); }); }};

struct Call {
  Call() { (void)every_device(); }
  Twice args() { return {x.view(), y.view()}; }
  // What is found behind a kernel.
  std::string stray(const Kernel<Twice>& kernel) {
    MovedCall<Twice> call(kDeferred, args());
    kernel.run(call.args(), {kDeferred, current_stream(kDeferred)});
    return call.finish();
  }
  const Tensor x = Tensor::from<float>({1, 2, 3}, {3});
  Guarded y{{3}};
};

using Values = std::vector<double>;

}  // namespace

TEST_CASE_METHOD(Call, "run_kernel takes a call to another device and brings its results back") {
  CHECK(run_kernel(kDeferred, on_deferred<right>, args()));
  CHECK(y.values() == Values{2, 4, 6});
  CHECK_FALSE(run_kernel(kDeferred, on_deferred<right>, {{}, y.view()}));

  Tensor both = x.clone();
  CHECK(run_kernel(kDeferred, on_deferred<right>, {both.view(), both.mutable_view()}));
  CHECK(both.to_vector() == Values{2, 4, 6});
  // One after the other: 2 4 6 becomes 2 4 8.
  Tensor shifted = both.as_strided({2}, {1}, 1);
  CHECK(run_kernel(kDeferred, on_deferred<right>, {both.as_strided({2}, {1}).view(), shifted.mutable_view()}));
  CHECK(both.to_vector() == Values{2, 4, 8});
}

TEST_CASE_METHOD(Call, "a kernel that writes more than its output is caught on another device") {
  CHECK(stray(on_deferred<right>) == "");
  CHECK(stray(on_deferred<before_y>) == "byte -1 of an output of 12 bytes");
  CHECK(stray(on_deferred<behind_y>) == "byte 12 of an output of 12 bytes");
  CHECK(stray(on_deferred<into_x>) == "byte 5 of an input of 12 bytes");
}

TEST_CASE_METHOD(Call, "run_kernel fails the test of a kernel that writes more than its output", "[!shouldfail]") {
  REQUIRE(run_kernel(kDeferred, on_deferred<behind_y>, args()));
}

TEST_CASE_METHOD(Call, "an element that a kernel forgets on another device is still the NaN that the test put there") {
  CHECK(run_kernel(kDeferred, on_deferred<forgetful>, args()));
  const Values got = y.values();
  CHECK(got[1] == 4);
  CHECK(std::isnan(got[2]));
}

TEST_CASE("for_each_kernel finds the kernels of every device") {
  kernels<Twice>().set(DeviceType::custom, {on_deferred<right>, on_deferred<forgetful>});
  std::vector<Device> devices;
  for_each_kernel<Twice>([&](Device d, const Kernel<Twice>&) { devices.push_back(d); });
  CHECK(devices == std::vector{kDeferred, kDeferred});
  CHECK(every_device().front() == Device::cpu());
}

TEST_CASE("no view of a call is overlooked") {
  const auto views = []<class Args>(Args args) {
    int count = 0;
    for_each_member(args, [&]<class M>(const M&) { count += testing::detail::IsView<M>; });
    return count;
  };
  CHECK(views(op::Fill()) == 1);
  CHECK(views(op::QConv2d()) == 8);
}
