// AddressSanitizer sees only what malloc() handed out: allocators tell it which bytes of that belong to somebody now.
#pragma once

#include <cstddef>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace mininn {

#ifdef __SANITIZE_ADDRESS__
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif

inline void show_to_sanitizer([[maybe_unused]] void* p, [[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  ASAN_UNPOISON_MEMORY_REGION(p, bytes);
#endif
}
inline void hide_from_sanitizer([[maybe_unused]] void* p, [[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  ASAN_POISON_MEMORY_REGION(p, bytes);
#endif
}

}  // namespace mininn
