// The seam of a device, seen from core, with two devices that need no hardware.
#include "core/backend.h"

#include <csignal>
#include <vector>

#include "core/autograd.h"
#include "core/memory_ops.h"
#include "ops/elementwise.h"
#include "tests/support/catch.h"
#include "tests/support/deferred_device.h"
#include "tests/support/fork.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

const Device kFirst = Device::custom(0), kSecond = Device::custom(1);

std::vector<double> iota(int64_t n) {
  std::vector<double> v(static_cast<size_t>(n));
  for (size_t i = 0; i < v.size(); ++i) v[i] = double(i) + 1;
  return v;
}
Tensor counted(const Shape& shape) { return Tensor::from(iota(numel(shape)), shape); }

}  // namespace

TEST_CASE("the CPU's backend copies and has nothing to wait for") {
  Backend& cpu = backend(DeviceType::cpu);
  CHECK(cpu.count() == 1);
  CHECK(&cpu.memory(0) == &allocator(Device::cpu()));
  const Stream s = new_stream(Device::cpu());
  const int from = 5;
  int to = 0;
  cpu.copy(&to, Device::cpu(), &from, Device::cpu(), sizeof from, s);
  wait(s, record(s));
  synchronize(s);
  CHECK(to == 5);
}

TEST_CASE("memory of no bytes has an address, on every device") {
  install_deferred_device();
  for (const Device d : {Device::cpu(), kFirst}) {
    const Stream s = current_stream(d);
    void* const p = allocator(d).allocate(0, s);
    CHECK(p != nullptr);
    allocator(d).deallocate(p, 0, s);
    CHECK(Tensor::empty({0, 3}, DType::f32, d).view().data != nullptr);
  }
}

TEST_CASE("a device without a backend is refused in one sentence") {
  install_deferred_device();
  for (const Device d : {Device::custom(2), Device::custom(-1), Device{DeviceType::cpu, 1}}) {
    CHECK_THROWS_AS(Tensor::zeros({2}, DType::f32, d), DeviceError);
    CHECK_THROWS_AS(new_stream(d), DeviceError);
  }
  CHECK_THROWS_AS(backend(DeviceType(17)), DeviceError);
  if (device_count(DeviceType::cuda) == 0) {
    CHECK_THROWS_AS(Tensor::empty({1}, DType::f32, Device::cuda()), DeviceError);
    CHECK_THROWS_AS(new_stream(Device::cuda()), DeviceError);
  }
}

TEST_CASE("tensors of any form and dtype travel between devices and keep their elements") {
  install_deferred_device();
  RandomTensors random(test_seed());
  for (int round = 0; round < 200; ++round) {
    const Shape shape = random.shape();
    const DType from_type = round % 2 ? DType::f32 : DType::i8, to_type = round % 3 ? from_type : DType::f64;
    const Tensor x = random.tensor(shape, from_type);
    INFO("seed " << test_seed() << ", round " << round << ": " << x.shape() << " strides " << x.strides());
    const Tensor there = x.to(kFirst);
    CHECK(there.device() == kFirst);
    CHECK(there.to(Device::cpu()).to_vector() == x.to_vector());
    CHECK(there.to(kSecond).to_vector() == x.to_vector());
    CHECK(there.clone().to_vector() == x.to_vector());

    // Into memory with gaps, which must stay as they are.
    Shape wide = shape;
    if (shape.rank() > 0) wide[shape.rank() - 1] = shape.back() * 2;
    for (const Device d : {Device::cpu(), kFirst, kSecond}) {
      Tensor all = Tensor::full(wide, 7, to_type, d);
      Strides strides = all.strides();
      if (shape.rank() > 0) strides[shape.rank() - 1] *= 2;
      Tensor part = all.as_strided(shape, strides);
      part.copy_from(there);
      CHECK(part.to_vector() == x.to_vector());
      double sum = 0, expected = 7 * double(all.numel() - part.numel());
      for (const double v : all.to_vector()) sum += v;
      for (const double v : x.to_vector()) expected += v;
      CHECK(sum == Approx(expected).margin(1e-9 * double(all.numel())));
    }
  }
}

TEST_CASE("fill and item work where a tensor is") {
  install_deferred_device();
  Tensor t = Tensor::full({2, 3}, 1.5, DType::bf16, kFirst);
  CHECK(t.to_vector() == std::vector<double>(6, 1.5));
  t.as_strided({2}, {3}, 1).fill(-2);
  CHECK(t.to_vector() == std::vector<double>{1.5, -2, 1.5, 1.5, -2, 1.5});
  t.as_strided({4, 1}, {0, 1}, 5).fill(4);  // several indices for one element
  CHECK(t.as_strided({}, {}, 5).item() == 4);
  CHECK(to_string(Tensor::full({}, 3, DType::i64, kSecond)) == "i64[] custom:1 {3}");
}

TEST_CASE("gradients are added where they are") {
  install_deferred_device();
  Tensor x = counted({3}).to(kFirst);
  x.set_requires_grad(true);
  for (int i = 0; i < 2; ++i) (x * x + x).backward(Tensor::full({3}, 1, DType::f64, kFirst));
  CHECK(x.grad().device() == kFirst);
  CHECK(x.grad().to_vector() == std::vector<double>{6, 10, 14});
}

TEST_CASE("a copy from the host reads it at once, and a copy to the host has arrived") {
  install_deferred_device();
  Tensor host = counted({4});
  const Tensor there = host.to(kFirst);
  host.fill(0);
  CHECK(there.to_vector() == iota(4));
  Tensor back = Tensor::zeros({4}, DType::f64);
  back.copy_from(there);
  CHECK(back.data<double>()[3] == 4);
}

TEST_CASE("work on a stream waits for what it is told to wait for") {
  install_deferred_device();
  const Stream other = new_stream(kFirst);
  const Tensor x = counted({4}).to(kFirst);
  Tensor y;
  Event done;
  {
    const StreamGuard guard(other);
    CHECK(current_stream(kFirst).handle == other.handle);
    CHECK(current_stream(kSecond).handle == nullptr);
    wait(other, record({kFirst, nullptr}));  // x was made on the default stream
    y = x + 1;
    done = record(other);
  }
  CHECK(current_stream(kFirst).handle == nullptr);
  wait(current_stream(kFirst), done);
  CHECK(y.to_vector() == std::vector<double>{2, 3, 4, 5});
  synchronize(other);
}

// What the tests above would say if something were forgotten.

TEST_CASE("on the deferred device a forgotten wait shows in the result") {
  install_deferred_device();
  double host[2] = {1, 2};
  const Tensor x = counted({2}).to(kFirst);
  const Stream s = current_stream(kFirst);
  backend(DeviceType::custom).copy(host, Device::cpu(), x.view().data, kFirst, sizeof host, s);
  CHECK(host[1] != host[1]);
  synchronize(s);
  CHECK(host[1] == 2);

  const Stream other = new_stream(kFirst);
  Tensor y;
  {
    const StreamGuard guard(other);
    y = x + counted({2}).to(kFirst);
  }
  CHECK(y.to_vector()[0] != 2);  // read on a stream that did not wait
  synchronize(other);
  CHECK(y.to_vector()[0] == 2);
}

TEST_CASE("on the deferred device memory that was given back is lost") {
  install_deferred_device();
  const Stream other = new_stream(kFirst);
  Tensor y;
  {
    const Tensor x = counted({2}).to(kFirst);
    const StreamGuard guard(other);
    y = x * 2;
  }
  synchronize(current_stream(kFirst));  // x is gone
  synchronize(other);
  CHECK(y.to_vector()[0] != 2);
}

TEST_CASE("on the deferred device memory cannot be touched by the host") {
  install_deferred_device();
  Tensor t = Tensor::zeros({4}, DType::u8, kFirst);
  synchronize(current_stream(kFirst));
  CHECK_THROWS_AS(t.data<uint8_t>(), DeviceError);
  const auto crashes = [](const auto& touch) {
    return in_forked_child([&] {
             std::signal(SIGSEGV, [](int) { ::_exit(7); });
             touch();
             return 0;
           }) == 7;
  };
  volatile std::byte* const p = t.mutable_view().data;
  CHECK(crashes([&] { (void)p[0]; }));
  CHECK(crashes([&] { p[0] = std::byte{1}; }));
}
