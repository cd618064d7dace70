// Short runs of codes, a multiple of 4 bytes: mostly a pixel, for which no call of the C library pays.
#pragma once

#include <cstdint>
#include <cstring>

namespace mininn::cpu::own {

inline void copy_codes(uint8_t* to, const uint8_t* from, int64_t bytes) {
  int64_t i = 0;
  for (; i + 16 <= bytes; i += 16) std::memcpy(to + i, from + i, 16);
  for (; i < bytes; i += 4) std::memcpy(to + i, from + i, 4);
}

inline void fill_codes(uint8_t* to, uint8_t code, int64_t bytes) {
  int64_t i = 0;
  for (; i + 16 <= bytes; i += 16) std::memset(to + i, code, 16);
  for (; i < bytes; i += 4) std::memset(to + i, code, 4);
}

}  // namespace mininn::cpu::own
