// Matrix products of warpgroups. Each warp makes its quarter of one, 16 rows, when it is drawn or when it waits.
#include <bit>
#include <cstring>
#include <deque>
#include <vector>

#include "tests/cuda/emulate/emulate.h"
#include "tests/cuda/emulate/fibers.h"
#include "tests/cuda/emulate/watch.h"

namespace emulate {
namespace {

constexpr int kGroupWarps = 4, kWarpRows = 16, kBytes = 32;  // bytes of k of a product

// A matrix in shared memory, along k, as its descriptor says.
class Matrix {
 public:
  explicit Matrix(uint64_t descriptor)
      : begin_(uint32_t(descriptor & 0x3fff) << 4),
        parts_(uint32_t(descriptor >> 16 & 0x3fff) << 4),
        eights_(uint32_t(descriptor >> 32 & 0x3fff) << 4),
        mode_(int(descriptor >> 62)) {
    if (descriptor & 0x3ffe'c000'c000'c000) fail("bits of a matrix's descriptor that the emulator does not know");
    if (mode_ == 0) return;
    if (begin_ % width() + kBytes > width()) fail("a product's 32 bytes of k leave the row of a matrix");
    if (begin_ / width() % 8 != 0) fail("a matrix with exchanged parts does not begin at eight of its rows");
  }
  // 16 bytes of a row. Without an exchange, eight rows of 16 bytes lie together.
  unsigned char* at(int row, int part) const {
    uint32_t a = begin_ + uint32_t(row / 8) * eights_ + uint32_t(row % 8) * (mode_ == 0 ? 16 : width());
    a += uint32_t(part) * (mode_ == 0 ? parts_ : 16);
    if (mode_ != 0) a ^= (a >> 7 & (width() / 16 - 1)) << 4;
    return shared_at(a, 16);
  }

 private:
  uint32_t width() const { return 256u >> mode_; }  // of a row: mode 1 is 128 bytes, 3 is 32

  uint32_t begin_, parts_, eights_;
  int mode_;
};

struct Product {
  bool codes;
  int columns, group;
  uint64_t a, b;
  std::vector<void*> sums;  // of the lanes
  bool made = false;
};
bool same(const Product& p, const Product& q) {
  return p.codes == q.codes && p.columns == q.columns && p.a == q.a && p.b == q.b;
}

struct Warp {
  std::deque<Product> open;  // in their order
  int group = 0;
  size_t started = 0;
};
struct Group {
  std::vector<Product> started;
};
std::vector<Warp> warps;
std::vector<Group> groups;

// Calls fn with each 16 bytes that a warp's quarter of a product reads.
template <class Fn>
void for_each_chunk(const Product& p, int warp, const Fn& fn) {
  const Matrix a(p.a), b(p.b);
  for (int part = 0; part < kBytes / 16; ++part) {
    for (int row = 0; row < kWarpRows; ++row) fn(a.at(warp % kGroupWarps * kWarpRows + row, part));
    for (int column = 0; column < p.columns; ++column) fn(b.at(column, part));
  }
}

// T: what a lane multiplies. read(bytes, i): element i of a row.
template <class T, class Acc, class ReadA, class ReadB>
void make(const Product& p, int warp, int elements, const ReadA& read_a, const ReadB& read_b) {
  const Matrix a(p.a), b(p.b);
  T left[kWarpRows][kBytes], right[128][kBytes];
  unsigned char row[kBytes];
  const auto load = [&](const Matrix& m, int r, T* to, const auto& read) {
    for (int part = 0; part < kBytes / 16; ++part) std::memcpy(row + 16 * part, m.at(r, part), 16);
    for (int i = 0; i < elements; ++i) to[i] = read(row, i);
  };
  for (int r = 0; r < kWarpRows; ++r) load(a, warp % kGroupWarps * kWarpRows + r, left[r], read_a);
  for (int c = 0; c < p.columns; ++c) load(b, c, right[c], read_b);
  for (int lane = 0; lane < kWarp; ++lane) {
    auto* const sums = static_cast<Acc(*)[4]>(p.sums[size_t(lane)]);
    for (int tile = 0; tile < p.columns / 8; ++tile)
      for (int i = 0; i < 4; ++i) {
        const T* const x = left[lane / 4 + i / 2 * 8];
        const T* const y = right[8 * tile + lane % 4 * 2 + i % 2];
        Acc sum = 0;
        for (int k = 0; k < elements; ++k) sum += Acc(x[k]) * Acc(y[k]);
        if constexpr (std::is_same_v<Acc, int32_t>)
          sums[tile][i] = int32_t(uint32_t(sums[tile][i]) + uint32_t(sum));
        else
          sums[tile][i] += sum;
      }
  }
}

void make(Product& p, int warp) {
  if (p.made) return;
  p.made = true;
  if (p.codes)
    make<int16_t, int32_t>(
        p, warp, kBytes, [](const unsigned char* row, int i) { return int16_t(row[i]); },
        [](const unsigned char* row, int i) { return int16_t(int8_t(row[i])); });
  else {
    const auto read = [](const unsigned char* row, int i) {
      return std::bit_cast<float>(uint32_t(row[2 * i]) << 16 | uint32_t(row[2 * i + 1]) << 24);
    };
    make<float, float>(p, warp, kBytes / 2, read, read);
  }
}

void start(bool codes, void* sums, int columns, uint64_t a, uint64_t b) {
  watch::start_clocks(threads_of_block());
  watch::start_sums(sums);
  const int number = thread() / kWarp;
  const Lane* const all = together(
      {.value = std::bit_cast<uintptr_t>(sums), .a = {uint32_t(a), uint32_t(a >> 32), uint32_t(b), uint32_t(b >> 32)}});
  if (thread() % kWarp != 0) return (void)together({});
  Warp& w = warps[size_t(number)];
  Product p{codes, columns, w.group, a, b, {}};
  for (int lane = 0; lane < kWarp; ++lane) {
    if (std::memcmp(all[lane].a, all[0].a, sizeof all[0].a) != 0) fail("threads of a warp start different products");
    p.sums.push_back(std::bit_cast<void*>(uintptr_t(all[lane].value)));
  }
  auto& started = groups[size_t(number / kGroupWarps)].started;
  if (w.started == started.size()) started.push_back(p);
  if (!same(started[w.started++], p)) fail("warps of a warpgroup start different products");
  for_each_chunk(p, number, [](const unsigned char* chunk) { watch::start_product_read(chunk); });
  w.open.push_back(std::move(p));
  if (!is_late())
    for (Product& each : w.open) make(each, number);
  together({});
}

}  // namespace

void start_products(int threads) {
  warps.assign(size_t(threads + kWarp - 1) / kWarp, {});
  groups.assign((warps.size() + kGroupWarps - 1) / kGroupWarps, {});
}
void end_products() {
  for (size_t i = 0; i < warps.size(); ++i) {
    if (!warps[i].open.empty()) fail("a block ends before its products are done");
    if (warps[i].started != groups[i / kGroupWarps].started.size()) fail("a product lacks a warp of its warpgroup");
  }
}

void fence_products(void* sums, size_t bytes) {
  const watch::Outside outside;
  watch::start_clocks(threads_of_block());
  watch::fence_sums(sums, bytes);
}

void close_product_group() {
  const watch::Outside outside;
  if (thread() % kWarp == 0) ++warps[size_t(thread() / kWarp)].group;
}

void wait_for_products(int left) {
  const watch::Outside outside;
  const int number = thread() / kWarp;
  together({});
  Warp& w = warps[size_t(number)];
  for (; thread() % kWarp == 0 && !w.open.empty() && w.open.front().group < w.group - left; w.open.pop_front()) {
    Product& p = w.open.front();
    make(p, number);
    for_each_chunk(p, number, [&](const unsigned char* chunk) { watch::finish_product_read(chunk, number); });
    for (int lane = 0; lane < kWarp; ++lane) watch::finish_sums(p.sums[size_t(lane)], number * kWarp + lane);
  }
  together({});
}

void start_product(int32_t (*sums)[4], int columns, uint64_t a, uint64_t b) {
  const watch::Outside outside;
  start(true, sums, columns, a, b);
}
void start_product(float (*sums)[4], int columns, uint64_t a, uint64_t b) {
  const watch::Outside outside;
  start(false, sums, columns, a, b);
}

}  // namespace emulate
