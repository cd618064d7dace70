// What one input may cost.
#pragma once

#include <cstddef>

namespace mininn::fuzz {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
#else
inline constexpr bool kSanitized = false;
#endif

inline constexpr double kCpuSeconds = kSanitized ? 8 : 2;  // checked code without optimisation is about 4 times slower
inline constexpr size_t kMemory = size_t{256} << 20;  // beyond what the seeds take, and kMemoryPerByte of the input
inline constexpr size_t kMemoryPerByte = 64;
inline constexpr size_t kMaxInput = size_t{1} << 20;

}  // namespace mininn::fuzz
