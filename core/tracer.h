// The hook by which a traced run records its op calls. nn/graph/trace.cpp is its one implementation.
#pragma once

#include <span>
#include <string_view>

#include "core/attributes.h"
#include "core/tensor.h"

namespace mininn {

class Tracer {
 public:
  virtual ~Tracer() = default;
  // Called once per op. An absent optional input is an undefined Tensor.
  virtual void record(std::string_view op, std::span<const Tensor> inputs, const Attrs& attrs,
                      const Tensor& output) = 0;
};

// The tracer of this thread, or null.
Tracer* active_tracer();

// Makes `t` this thread's tracer for the guard's lifetime.
class TracerGuard {
 public:
  explicit TracerGuard(Tracer& t);
  ~TracerGuard();
  TracerGuard(const TracerGuard&) = delete;
  TracerGuard& operator=(const TracerGuard&) = delete;

 private:
  Tracer* previous_;
};

}  // namespace mininn
