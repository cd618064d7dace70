// Memory of the small objects that every op call makes and drops again: tensors, nodes, their lists. A block that is
// freed waits in its thread for the next object of its size, as in Boost.Asio's recycling_allocator, so that a training
// step asks the heap for nothing that the step before had not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace mininn {

namespace detail {

// Aligned as operator new does it. Throws std::bad_alloc.
void* take_block(size_t bytes);
// In any thread, with the bytes that were asked for.
void give_back_block(void* p, size_t bytes) noexcept;

}  // namespace detail

// For containers and shared pointers of the standard library.
template <class T>
struct RecyclingAllocator {
  using value_type = T;

  RecyclingAllocator() = default;
  template <class U>
  RecyclingAllocator(const RecyclingAllocator<U>&) noexcept {}

  T* allocate(size_t n) {
    static_assert(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
    if (n > size_t(PTRDIFF_MAX) / sizeof(T)) throw std::bad_array_new_length();
    return static_cast<T*>(detail::take_block(n * sizeof(T)));
  }
  void deallocate(T* p, size_t n) noexcept { detail::give_back_block(p, n * sizeof(T)); }
  bool operator==(const RecyclingAllocator&) const = default;
};

template <class T>
using RecycledVector = std::vector<T, RecyclingAllocator<T>>;

// std::make_shared.
template <class T, class... Args>
std::shared_ptr<T> make_recycled(Args&&... args) {
  return std::allocate_shared<T>(RecyclingAllocator<T>(), std::forward<Args>(args)...);
}

// A base of classes whose objects are made by new, with no alignment beyond that of new. Where they are deleted as a
// base class, its destructor is virtual.
struct Recycled {
  static void* operator new(size_t bytes) { return detail::take_block(bytes); }
  static void operator delete(void* p, size_t bytes) noexcept {
    if (p) detail::give_back_block(p, bytes);
  }
};

}  // namespace mininn
