#include "core/capture.h"

#include <vector>

#include "core/kernel.h"
#include "core/members.h"
#include "core/memory_ops.h"
#include "core/tensor.h"
#include "tests/support/catch.h"

using namespace mininn;
using Catch::Contains;

TEST_CASE("a captured call is made later, as often as one likes, on the memory that one says") {
  const Tensor five = Tensor::full({4}, 5);
  Capture capture;
  Tensor a = Tensor::empty({4}), b = Tensor::empty({2, 2});
  a.copy_from(five);  // from memory that is there
  b.as_strided({2}, {2}, 1).fill(3);
  REQUIRE(capture.promised_bytes() == std::vector<size_t>{16, 16});
  REQUIRE(capture.calls().size() == 2);
  CHECK(capture.calls()[0]->op == "copy");
  CHECK(capture.calls()[0]->operands.size() == 1);
  CHECK(capture.calls()[1]->operands[0].place.memory == 1);
  CHECK(capture.calls()[1]->operands[0].place.offset == 4);
  for (const float before : {1.0f, 2.0f}) {
    std::vector<float> first(4, before), second(4, before);
    std::byte* const memory[] = {reinterpret_cast<std::byte*>(first.data()),
                                 reinterpret_cast<std::byte*>(second.data())};
    for (const auto& call : capture.calls()) call->run(memory);
    CHECK(first == std::vector<float>{5, 5, 5, 5});
    CHECK(second == std::vector<float>{before, 3, before, 3});
  }
}

TEST_CASE("promised memory is told from other memory, to the piece and the byte") {
  const Tensor real = Tensor::zeros({4});
  Capture capture;
  const Tensor a = Tensor::empty({3}, DType::u8), none = Tensor::empty({0}), b = Tensor::empty({100});
  const auto place = [&](const std::byte* p) {
    const auto found = capture.place_of(p);
    return found ? std::pair(found->memory, found->offset) : std::pair(size_t{99}, size_t{0});
  };
  CHECK(place(a.view().data) == std::pair<size_t, size_t>(0, 0));
  CHECK(place(a.view().data + 3) == std::pair<size_t, size_t>(0, 3));  // its end is nobody's beginning
  CHECK(place(none.view().data) == std::pair<size_t, size_t>(1, 0));
  CHECK(place(b.view().data + 396) == std::pair<size_t, size_t>(2, 396));
  CHECK(place(real.view().data).first == 99);
  CHECK(place(nullptr).first == 99);
  CHECK(is_promised(b.view().data));
  CHECK_FALSE(is_promised(real.view().data));
}

TEST_CASE("who captures cannot read what is not there, nor write where it does not belong") {
  Tensor real = Tensor::full({4}, 2);
  Capture capture;
  CHECK_THROWS_WITH(Capture(), Contains("captures already"));
  Tensor x = Tensor::empty({4});
  CHECK_THROWS_WITH(x.data<float>(), Contains("do not exist yet"));
  CHECK_THROWS_WITH(x.mutable_data<float>(), Contains("do not exist yet"));
  CHECK_THROWS_WITH(x.to_vector(), Contains("do not exist yet"));
  CHECK_THROWS_WITH(Tensor::empty({1}).item(), Contains("do not exist yet"));
  CHECK_THROWS_WITH(real.copy_from(x), Contains("copy: a captured call would write"));
  CHECK(capture.calls().empty());
  // What has nothing to do with it is done at once.
  CHECK(real.to_vector() == std::vector<double>(4, 2));
  real.fill(3);
  CHECK(real.to_vector() == std::vector<double>(4, 3));
  CHECK(Tensor::from(std::vector<float>{1, 2}, {2}).to_vector() == std::vector<double>{1, 2});
  {
    const CapturePause pause;
    CHECK_FALSE(Capture::current());
    CHECK(Tensor::full({2}, 7).to_vector() == std::vector<double>{7, 7});
  }
  CHECK(Capture::current() == &capture);
  CHECK(capture.calls().empty());
}

TEST_CASE("a capture ends with its scope") {
  { const Capture capture; }
  CHECK_FALSE(Capture::current());
  CHECK(Tensor::full({2}, 7).to_vector() == std::vector<double>{7, 7});
}

TEST_CASE("the members of a struct are visited in order") {
  struct Pair {
    int a, b;
  };
  struct Plain {
    Pair pair;
    double d = 0;
    CView v;
    const char* text = nullptr;
  };
  struct One {
    View v;
  };
  Plain p{{1, 2}, 3, {}, "x"};
  int visited = 0;
  for_each_member(p, [&]<class T>(T& field) {
    ++visited;
    if constexpr (std::is_same_v<T, Pair>) CHECK((visited == 1 && field.b == 2));
    if constexpr (std::is_same_v<T, double>) CHECK((visited == 2 && field == 3));
    if constexpr (std::is_same_v<T, CView>) CHECK(visited == 3);
  });
  CHECK(visited == 4);
  One one;
  for_each_member(one, [&](View& v) { CHECK(&v == &one.v); });
}

TEST_CASE("what is left of one capture is nothing in the next") {
  Tensor old;
  {
    const Capture capture;
    old = Tensor::empty({4});
  }
  Capture capture;
  Tensor now = Tensor::empty({4});
  CHECK_FALSE(capture.place_of(old.view().data));
  CHECK_THROWS_WITH(now.copy_from(old), Contains("left of another capture"));
}
