#include "core/recycling_allocator.h"

#include <array>
#include <cstring>
#include <thread>

#include "core/sanitizer.h"
#include "tests/support/allocations.h"
#include "tests/support/catch.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

template <size_t bytes>
using Bytes = std::array<char, bytes>;

// One that no other test leaves blocks of: these wait in the thread.
template <class F>
void in_a_new_thread(const F& f) {
  std::thread(f).join();
}

struct Base : Recycled {
  virtual ~Base() = default;
};
struct Derived final : Base {
  char more[300] = {};
};

}  // namespace

TEST_CASE("what is freed serves the next object of about its size") {
  if (kAddressSanitizer) return;  // which keeps it for a while, to see who still uses it
  in_a_new_thread([] {
    const void* const first = make_recycled<Bytes<100>>().get();
    const size_t before = allocation_count();
    CHECK(static_cast<void*>(make_recycled<Bytes<101>>().get()) == first);
    const auto kept = make_recycled<Bytes<100>>();
    CHECK(static_cast<void*>(kept.get()) == first);
    CHECK(allocation_count() == before);
    CHECK(static_cast<void*>(make_recycled<Bytes<100>>().get()) != first);
    CHECK(static_cast<void*>(make_recycled<Bytes<200>>().get()) != first);
    CHECK(allocation_count() == before + 2);
  });
}

TEST_CASE("lists and objects of derived classes are recycled") {
  Recycled::operator delete(nullptr, 8);
  in_a_new_thread([] {
    const auto round = [] {
      RecycledVector<int> list;
      for (int i = 0; i < 200; ++i) list.push_back(i);
      for (int i = 0; i < 200; ++i) CHECK(list[size_t(i)] == i);
      const std::unique_ptr<Base> object = std::make_unique<Derived>();
      std::memset(static_cast<Derived&>(*object).more, 1, sizeof(Derived::more));
    };
    round();
    const size_t before = allocation_count(), live = live_allocations();
    for (int i = 0; i < 3; ++i) round();
    CHECK((kAddressSanitizer || allocation_count() == before));
    CHECK(live_allocations() == live);
  });
}

TEST_CASE("blocks above a kilobyte are not kept") {
  in_a_new_thread([] {
    const size_t live = live_allocations();
    { const RecycledVector<char> list(1025); }
    CHECK(live_allocations() == live);
    { const RecycledVector<char> list(1024); }
    CHECK(live_allocations() == live + !kAddressSanitizer);
  });
  CHECK_THROWS_AS(RecyclingAllocator<int64_t>().allocate(size_t{1} << 61), std::bad_alloc);
}

TEST_CASE("a thread keeps at most 256 KiB of a size, and none beyond its end") {
  static constexpr size_t kKept = kAddressSanitizer ? 0 : (size_t{256} << 10) / 1024;
  const size_t live = live_allocations();
  in_a_new_thread([] {
    const size_t before = live_allocations();
    {
      std::vector<RecycledVector<char>> lists(4 * kKept + 1);
      for (auto& list : lists) list.resize(1024);
    }
    CHECK(live_allocations() - before == kKept);
    make_recycled<Bytes<100>>();  // other sizes are kept nevertheless
    CHECK(live_allocations() - before == kKept + !kAddressSanitizer);
  });
  CHECK(live_allocations() == live);
}

TEST_CASE("what one thread has made another may free, and the destructors of thread-local objects too") {
  struct Late {
    std::shared_ptr<Bytes<100>> object;
    ~Late() {
      object.reset();
      make_recycled<Bytes<100>>();
    }
  };
  const size_t live = live_allocations();
  in_a_new_thread([] {
    thread_local Late late;  // constructed before this thread has kept a block, and so destroyed after them
    std::shared_ptr<Bytes<100>> made;
    in_a_new_thread([&made] { made = make_recycled<Bytes<100>>(); });
    late.object = make_recycled<Bytes<100>>();
    made.reset();
    CHECK(make_recycled<Bytes<100>>());
  });
  CHECK(live_allocations() == live);
}

TEST_CASE("what a constructor throws leaves nothing behind") {
  struct Throws {
    Throws() { throw 1; }
    char more[100];
  };
  struct RecycledThrows : Recycled, Throws {};
  const size_t live = live_allocations();
  in_a_new_thread([] {
    CHECK_THROWS_AS(make_recycled<Throws>(), int);
    CHECK_THROWS_AS(std::make_unique<RecycledThrows>(), int);
  });
  CHECK(live_allocations() == live);
}
