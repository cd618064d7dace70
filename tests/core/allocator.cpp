#include "core/allocator.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <thread>

#include "core/error.h"
#include "core/tensor.h"
#include "tests/support/catch.h"
#include "tests/support/fork.h"
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

using namespace mininn;

TEST_CASE("the CPU allocator aligns, reuses and counts") {
  Allocator& a = allocator(Device::cpu());
  a.release_cached();
  const size_t live = a.stats().live_bytes;
  void* p = a.allocate(100'000, {});
  CHECK(reinterpret_cast<uintptr_t>(p) % 64 == 0);
  CHECK(a.stats().live_bytes >= live + 100'000);
  CHECK(a.stats().live_bytes <= live + 125'000);  // at most a quarter is lost to the size class
  a.deallocate(p, 100'000, {});
  CHECK(a.stats().live_bytes == live);
  CHECK(a.stats().cached_bytes >= 100'000);
  CHECK(a.allocate(99'000, {}) == p);  // same size class
  a.deallocate(p, 99'000, {});
  a.release_cached();
  CHECK(a.stats().cached_bytes == 0);
}

TEST_CASE("blocks of every size hold what was asked for") {
  Allocator& a = allocator(Device::cpu());
  for (size_t bytes = 0; bytes < 5000; bytes += 7) {
    void* p = a.allocate(bytes, {});
    std::memset(p, 0xab, bytes);
    a.deallocate(p, bytes, {});
  }
}

TEST_CASE("tensors give their memory back") {
  const size_t live = allocator(Device::cpu()).stats().live_bytes;
  {
    const Tensor t = Tensor::zeros({100, 100});
    const Tensor view = t.detach();
    CHECK(allocator(Device::cpu()).stats().live_bytes > live);
  }
  CHECK(allocator(Device::cpu()).stats().live_bytes == live);
}

TEST_CASE("the CPU allocator refuses sizes that no memory has") {
  Allocator& a = allocator(Device::cpu());
  CHECK_THROWS_AS(a.allocate(~size_t{0}, {}), ShapeError);
  CHECK_THROWS_AS(a.allocate(size_t{1} << 63, {}), ShapeError);
  CHECK_THROWS_AS(a.allocate(size_t{1} << 62, {}), Error);
}

TEST_CASE("a child process can allocate, whatever other threads did at the fork()") {
  Allocator& a = allocator(Device::cpu());
  const auto round_trip = [&] { a.deallocate(a.allocate(1000, {}), 1000, {}); };
  std::atomic<bool> done{false};
  std::thread busy([&] {
    while (!done) round_trip();
  });
  int wrong = 0;
  for (int i = 0; i < 50; ++i) wrong += testing::in_forked_child([&] { return round_trip(), 1; }) != 1;
  done = true;
  busy.join();
  CHECK(wrong == 0);
}

#ifdef __SANITIZE_ADDRESS__
TEST_CASE("AddressSanitizer sees the end of a tensor's bytes, and what is kept for later") {
  Allocator& a = allocator(Device::cpu());
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{300}, size_t{70'001}}) {
    char* const p = static_cast<char*>(a.allocate(bytes, {}));
    CHECK(__asan_region_is_poisoned(p, bytes) == nullptr);
    CHECK(__asan_address_is_poisoned(p + bytes));
    a.deallocate(p, bytes, {});
    CHECK(__asan_address_is_poisoned(p));
  }
}
#endif
