#include "core/recycling_allocator.h"

#include <array>
#include <cstring>
#include <thread>

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
    CHECK(allocation_count() == before);
    CHECK(live_allocations() == live);
  });
}

TEST_CASE("blocks above a kilobyte are not kept") {
  in_a_new_thread([] {
    const size_t live = live_allocations();
    { const RecycledVector<char> list(1025); }
    CHECK(live_allocations() == live);
    { const RecycledVector<char> list(1024); }
    CHECK(live_allocations() == live + 1);
  });
  CHECK_THROWS_AS(RecyclingAllocator<int64_t>().allocate(size_t{1} << 61), std::bad_alloc);
}

TEST_CASE("a thread keeps at most four megabytes, and none beyond its end") {
  constexpr size_t kBlocks = 6000;
  const size_t live = live_allocations();
  in_a_new_thread([] {
    const size_t before = live_allocations();
    {
      std::vector<RecycledVector<char>> lists(kBlocks);
      for (auto& list : lists) list.resize(1024);
    }
    CHECK(live_allocations() - before == (size_t{4} << 20) / 1024);
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
