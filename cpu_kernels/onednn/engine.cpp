#include "cpu_kernels/onednn/engine.h"

#include <string_view>

#include "core/allocator.h"
#include "core/integers.h"
#include "cpu_kernels/onednn/kernels.h"

namespace mininn::cpu::onednn {
namespace {

thread_local int64_t made = 0;

dnnl::stream& stream() {
  thread_local dnnl::stream s(engine());
  return s;
}

dnnl::memory unbound(const dnnl::memory::desc& d) { return {d, engine(), DNNL_MEMORY_NONE}; }

}  // namespace

const dnnl::engine& engine() {
  static const dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}

void rethrow(const char* what, const dnnl::error& e) {
  throw KernelError(message("oneDNN: ", what, ": ", e.status == dnnl_out_of_memory ? "out of memory: " : "", e.message,
                            " (status ", int(e.status), ")"));
}

dnnl::memory::data_type data_type(DType t) {
  using Type = dnnl::memory::data_type;
  switch (t) {
    case DType::f32: return Type::f32;
    case DType::bf16: return Type::bf16;
    case DType::i32: return Type::s32;
    case DType::i8: return Type::s8;
    case DType::u8: return Type::u8;
    case DType::f64:
    case DType::i64: break;
  }
  throw KernelError(message("oneDNN: no element type for ", name(t)));
}

dnnl::primitive_attr attributes() {
  dnnl::primitive_attr a;
  a.set_fpmath_mode(dnnl::fpmath_mode::strict);  // the environment could ask for bf16 in fp32's place
  a.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return a;
}

Scratch::Scratch(size_t bytes)
    : bytes_(bytes), data_(bytes ? static_cast<std::byte*>(cpu_allocator().allocate(bytes, {})) : nullptr) {}
Scratch::~Scratch() {
  if (data_) cpu_allocator().deallocate(data_, bytes_, {});
}

void reorder(const dnnl::memory::desc& from_desc, const void* from, const dnnl::memory::desc& to_desc, void* to) {
  const OpenMpThreads pool(num_threads());
  dnnl::memory source(from_desc, engine(), const_cast<void*>(from)), target(to_desc, engine(), to);
  dnnl::reorder(source, target).execute(stream(), source, target);
  stream().wait();
}

Program::Program(const char* what, const dnnl::primitive_desc_base& desc, const dnnl::primitive& primitive,
                 const std::vector<Operand>& operands)
    : what_(what), primitive_(primitive) {
  ++made;
  if (std::string_view(desc.impl_info_str()).starts_with("ref")) {
    refusal_ = "oneDNN has only its reference code for this case on this processor";
    return;
  }
  for (const Operand& o : operands) {
    Slot s;
    s.user = s.wanted = unbound(o.desc);
    s.output = o.output;
    const auto wanted = desc.query_md(dnnl::query::exec_arg_md, o.arg);
    if (!wanted.is_zero() && wanted != o.desc) {  // zero: an attribute's operand, which has one layout
      s.wanted = unbound(wanted);
      s.reorder = o.output ? dnnl::reorder(s.wanted, s.user) : dnnl::reorder(s.user, s.wanted);
      s.scratch_offset = scratch_bytes_;
      scratch_bytes_ += round_up(wanted.get_size(), 64);
    }
    arguments_.emplace(o.arg, s.wanted);
    slots_.push_back(std::move(s));
  }
  scratchpad_ = unbound(desc.scratchpad_desc());
  scratchpad_offset_ = scratch_bytes_;
  scratch_bytes_ += round_up(desc.scratchpad_desc().get_size(), 64);
  arguments_.emplace(DNNL_ARG_SCRATCHPAD, scratchpad_);
}

void Program::run(std::initializer_list<const void*> data) {
  const OpenMpThreads pool(threads_);
  checked(what_, [&] {
    const Scratch scratch(scratch_bytes_);
    const void* const* pointer = data.begin();
    for (Slot& s : slots_) {
      s.user.set_data_handle(const_cast<void*>(*pointer++));  // oneDNN has no read-only memory object
      if (!s.reorder) continue;
      s.wanted.set_data_handle(scratch.data() + s.scratch_offset);
      if (!s.output) s.reorder.execute(stream(), s.user, s.wanted);
    }
    scratchpad_.set_data_handle(scratch.data() + scratchpad_offset_);
    primitive_.execute(stream(), arguments_);
    for (Slot& s : slots_)
      if (s.reorder && s.output) s.reorder.execute(stream(), s.wanted, s.user);
    stream().wait();
  });
}

int64_t programs_made() { return made; }

}  // namespace mininn::cpu::onednn
