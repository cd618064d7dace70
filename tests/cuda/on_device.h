// Kernels of tests on the emulator, and memory for them.
#pragma once

#include <unistd.h>

#include <csignal>
#include <string>
#include <type_traits>
#include <vector>

#include "tests/cuda/emulate/emulate.h"
#include "tests/support/catch.h"
#include "tests/support/fork.h"

namespace emulate {

inline cudaStream_t stream_on(int device) {
  REQUIRE(cudaSetDevice(device) == cudaSuccess);
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  return stream;
}

// Of device 0, never destroyed.
inline cudaStream_t the_stream() {
  static const cudaStream_t stream = stream_on(0);
  return stream;
}

// An array in a device's memory.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& values, cudaStream_t stream = the_stream())
      : size_(values.size()), stream_(stream) {
    REQUIRE(cudaMallocAsync(reinterpret_cast<void**>(&data_), bytes(), stream_) == cudaSuccess);
    REQUIRE(cudaMemcpyAsync(data_, values.data(), bytes(), cudaMemcpyHostToDevice, stream_) == cudaSuccess);
  }
  explicit OnDevice(size_t n, cudaStream_t stream = the_stream()) : OnDevice(std::vector<T>(n), stream) {}
  ~OnDevice() { CHECK(cudaFreeAsync(data_, stream_) == cudaSuccess); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  T* data() const { return data_; }
  std::vector<T> values() const {
    std::vector<T> v(size_);
    REQUIRE(cudaMemcpyAsync(v.data(), data_, bytes(), cudaMemcpyDeviceToHost, stream_) == cudaSuccess);
    REQUIRE(cudaStreamSynchronize(stream_) == cudaSuccess);
    return v;
  }

 private:
  size_t bytes() const { return size_ * sizeof(T); }

  size_t size_;
  cudaStream_t stream_;
  T* data_ = nullptr;
};

// Runs a kernel on device 0, to its end.
template <class... Params>
void run_with_shared(size_t bytes, void (*kernel)(Params...), dim3 grid, dim3 block,
                     const std::type_identity_t<Params>&... args) {
  REQUIRE(launch(kernel, grid, block, bytes, the_stream(), args...) == cudaSuccess);
  REQUIRE(cudaStreamSynchronize(the_stream()) == cudaSuccess);
}
template <class... Params>
void run(void (*kernel)(Params...), dim3 grid, dim3 block, const std::type_identity_t<Params>&... args) {
  run_with_shared(0, kernel, grid, block, args...);
}

// What the emulator says when it ends a process that does this; empty if it does not.
template <class Body>
std::string last_words(const Body& body) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const int end = mininn::testing::in_forked_child([&] {
    ::dup2(ends[1], STDERR_FILENO);
    std::signal(SIGABRT, [](int) { ::_exit(7); });
    body();
    return 0;
  });
  ::close(ends[1]);
  std::string said(2000, '\0');
  const ssize_t n = ::read(ends[0], said.data(), said.size());
  ::close(ends[0]);
  said.resize(size_t(n > 0 ? n : 0));
  CHECK(end == (said.empty() ? 0 : 7));
  return said;
}

}  // namespace emulate
