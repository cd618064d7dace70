// SHA-256 (FIPS 180-4): names the bytes of data files, calibration draws and logits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace mininn {

class Sha256 {
 public:
  Sha256& update(const void* data, size_t bytes);
  // The elements' bytes as they lie in memory (little-endian on every machine this library runs on).
  template <class T>
  Sha256& update(std::span<const T> values) {
    return update(values.data(), values.size_bytes());
  }
  // 64 lower-case hex digits of everything so far; more may follow.
  std::string hex() const;

 private:
  void block(const uint8_t* p);

  std::array<uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> buffer_{};  // the first bytes_ % 64 wait for a full block
  uint64_t bytes_ = 0;
};

}  // namespace mininn
