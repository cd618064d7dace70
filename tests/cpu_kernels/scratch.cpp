#include "cpu_kernels/common/scratch.h"

#include <cstdint>
#include <cstring>
#include <thread>

#include "core/error.h"
#include "tests/support/catch.h"

using mininn::cpu::Scratch;

namespace {

// Nested pieces, each larger than all before it, so that the stack has to grow under those in use.
void nest(int depth, int64_t size) {
  Scratch<uint8_t> piece(size);
  CHECK(reinterpret_cast<uintptr_t>(piece.data()) % 64 == 0);
  std::memset(piece.data(), depth, size_t(size));
  if (depth > 0) nest(depth - 1, 3 * size);
  bool kept = true;
  for (int64_t i = 0; i < size; ++i) kept &= piece[i] == depth;
  CHECK(kept);
}

}  // namespace

TEST_CASE("pieces of scratch memory are aligned and keep apart, however large and deep") {
  for (int round = 0; round < 2; ++round) nest(9, 1000);
  nest(2, 1);
}

#ifndef __SANITIZE_ADDRESS__  // which keeps freed memory to itself
TEST_CASE("scratch memory that was given back is handed out again") {
  nest(9, 1000);  // the stack has seen more than the pieces below want
  const uint8_t* first = nullptr;
  for (int i = 0; i < 3; ++i) {
    Scratch<uint8_t> a(100), nothing(0);
    if (i == 0) first = a.data();
    CHECK(a.data() == first);
    Scratch<float> b(5000);
    CHECK(reinterpret_cast<uint8_t*>(b.data()) >= a.data() + 100);
  }
}

TEST_CASE("a thread that does the same work again finds one block that is large enough") {
  constexpr int64_t kPiece = int64_t{48} << 20;  // more than any test before
  bool together = false;
  for (int i = 0; i < 3; ++i) {
    Scratch<uint8_t> a(kPiece), b(kPiece);
    together = b.data() == a.data() + kPiece;
  }
  CHECK(together);
}

TEST_CASE("a piece that no memory has room for does no harm to later ones") {
  CHECK_THROWS_AS(Scratch<uint8_t>(int64_t{1} << 60), mininn::Error);
  std::thread([] {
    CHECK_THROWS_AS(Scratch<uint8_t>(int64_t{1} << 60), mininn::Error);
    Scratch<uint8_t> small(1000);
    CHECK(small.data());
  }).join();
}

#endif

TEST_CASE("each thread has scratch memory of its own") {
  Scratch<int> here(1000);
  here[0] = 1;
  std::thread([&] {
    Scratch<int> there(1000);
    there[0] = 2;
    CHECK(there.data() != here.data());
  }).join();
  CHECK(here[0] == 1);
}
