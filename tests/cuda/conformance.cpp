// Each wrapper of cuda/device.h against its comment. Nothing is checked where there is no CUDA device.
#include "tests/cuda/conformance.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/dtype.h"
#include "core/random.h"
#include "tests/support/catch.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

std::vector<Device> cuda_devices() {
  std::vector<Device> devices;
  for (int i = 0; i < device_count(DeviceType::cuda); ++i) devices.push_back(Device::cuda(i));
  return devices;
}

std::vector<uint8_t> random_bytes(size_t n, Generator& g) {
  std::vector<uint8_t> bytes(n);
  for (uint8_t& b : bytes) b = uint8_t(g.below(256));
  return bytes;
}

// A matrix in the registers of a warp: element (row, column) is number `part` of register `reg` of a lane.
struct Place {
  int lane, reg, part;
};
// `parts`: elements of four bytes. Of a [16, 8 parts], b [8 parts, 8] and d [16, 8], as the comment has them.
Place place_of_a(int row, int k, int parts) {
  return {row % 8 * 4 + k % (4 * parts) / parts, row / 8 + k / (4 * parts) * 2, k % parts};
}
Place place_of_b(int k, int column, int parts) {
  return {column * 4 + k % (4 * parts) / parts, k / (4 * parts), k % parts};
}
Place place_of_d(int row, int column) { return {row % 8 * 4 + column / 2, row / 8 * 2 + column % 2, 0}; }

template <class T, class Lanes>
void put(Lanes& lanes, const Place& p, T value) {
  std::memcpy(reinterpret_cast<char*>(&lanes[size_t(p.lane)][size_t(p.reg)]) + size_t(p.part) * sizeof(T), &value,
              sizeof(T));
}

}  // namespace

TEST_CASE("matrices are loaded as their rows lie, and transposed") {
  Generator g(test_seed());
  for (const Device d : cuda_devices()) {
    const auto bytes = random_bytes(32 * 16, g);
    std::array<int, 32> chunk{};
    std::iota(chunk.begin(), chunk.end(), 0);
    for (size_t i = 31; i > 0; --i) std::swap(chunk[i], chunk[g.below(i + 1)]);
    const auto straight = load(d, false, bytes, chunk), transposed = load(d, true, bytes, chunk);
    for (int lane = 0; lane < 32; ++lane)
      for (int i = 0; i < 4; ++i) {
        const auto row = [&](int r) { return bytes.data() + chunk[size_t(8 * i + r)] * 16; };
        uint32_t want = 0;
        std::memcpy(&want, row(lane / 4) + lane % 4 * 4, 4);
        CHECK(straight[size_t(lane)][size_t(i)] == want);
        std::memcpy(&want, row(lane % 4 * 2) + lane / 4 * 2, 2);
        std::memcpy(reinterpret_cast<char*>(&want) + 2, row(lane % 4 * 2 + 1) + lane / 4 * 2, 2);
        CHECK(transposed[size_t(lane)][size_t(i)] == want);
      }
  }
}

TEST_CASE("products of codes are exact, at their limits too") {
  Generator g(test_seed());
  for (const Device d : cuda_devices())
    for (const bool extreme : {false, true}) {
      int a[16][32], b[32][8];
      PerLane<uint32_t, 4> left{};
      PerLane<uint32_t, 2> right{};
      PerLane<int32_t, 4> sum{};
      for (int row = 0; row < 16; ++row)
        for (int k = 0; k < 32; ++k) {
          a[row][k] = extreme ? 255 : int(g.below(256));
          put(left, place_of_a(row, k, 4), uint8_t(a[row][k]));
        }
      for (int k = 0; k < 32; ++k)
        for (int column = 0; column < 8; ++column) {
          b[k][column] = extreme ? -128 + column % 2 * 255 : int(g.below(256)) - 128;
          put(right, place_of_b(k, column, 4), int8_t(b[k][column]));
        }
      for (auto& lane : sum)
        for (int32_t& v : lane) v = int32_t(g.next_u32());
      const auto got = multiply_u8_s8(d, sum, left, right);
      for (int row = 0; row < 16; ++row)
        for (int column = 0; column < 8; ++column) {
          const Place p = place_of_d(row, column);
          auto want = uint32_t(sum[size_t(p.lane)][size_t(p.reg)]);
          for (int k = 0; k < 32; ++k) want += uint32_t(a[row][k] * b[k][column]);
          CHECK(got[size_t(p.lane)][size_t(p.reg)] == int32_t(want));
        }
    }
}

TEST_CASE("products of bf16 are added up in f32, or nearly so") {
  Generator g(test_seed());
  for (const Device d : cuda_devices()) {
    double a[16][16], b[16][8];
    PerLane<uint32_t, 4> left{};
    PerLane<uint32_t, 2> right{};
    PerLane<float, 4> sum{};
    const auto random = [&] { return bf16(float(g.normal())); };
    for (int row = 0; row < 16; ++row)
      for (int k = 0; k < 16; ++k) {
        const bf16 v = random();
        a[row][k] = double(float(v));
        put(left, place_of_a(row, k, 2), v);
      }
    for (int k = 0; k < 16; ++k)
      for (int column = 0; column < 8; ++column) {
        const bf16 v = random();
        b[k][column] = double(float(v));
        put(right, place_of_b(k, column, 2), v);
      }
    for (auto& lane : sum)
      for (float& v : lane) v = float(g.normal());
    const auto got = multiply_bf16(d, sum, left, right);
    for (int row = 0; row < 16; ++row)
      for (int column = 0; column < 8; ++column) {
        const Place p = place_of_d(row, column);
        double want = double(sum[size_t(p.lane)][size_t(p.reg)]), size = std::abs(want);
        for (int k = 0; k < 16; ++k) {
          want += a[row][k] * b[k][column];
          size += std::abs(a[row][k] * b[k][column]);
        }
        CHECK(std::abs(double(got[size_t(p.lane)][size_t(p.reg)]) - want) <= size * 17 * 0x1p-23);
      }
  }
}

TEST_CASE("a group of copies is there when it was waited for") {
  Generator g(test_seed());
  for (const Device d : cuda_devices())
    for (const int bytes_at_once : {4, 16}) {
      const auto bytes = random_bytes(3 * 32 * 16, g);
      CHECK(copy(d, bytes_at_once, bytes) == bytes);
    }
}
