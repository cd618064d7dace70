// Matrix products by cuBLASLt. f32 is multiplied as it is: TF32, which drops 13 bits of each factor, is not asked for.
// bf16 is added up in f32, also where several blocks share a sum, in an order that does not change from run to run.
#include <cublasLt.h>

#include <algorithm>
#include <bit>
#include <map>
#include <memory>
#include <string>

#include "core/plan_cache.h"
#include "cuda/backend.h"
#include "cuda/cublas/kernels.h"
#include "cuda/cublas/problem.h"
#include "cuda/library.h"
#include "cuda/scratch.h"

namespace mininn::cuda::cublas {
namespace {

// The functions of cuBLASLt that are called here, under their own names.
struct Api {
  Library library{message("libcublasLt.so.", CUBLAS_VER_MAJOR)};
#define MININN_FUNCTION(name) decltype(::name)* name = library.function<decltype(::name)>(#name)
  MININN_FUNCTION(cublasLtCreate);
  MININN_FUNCTION(cublasLtDestroy);
  MININN_FUNCTION(cublasLtGetStatusName);
  MININN_FUNCTION(cublasLtMatmul);
  MININN_FUNCTION(cublasLtMatmulAlgoGetHeuristic);
  MININN_FUNCTION(cublasLtMatmulDescCreate);
  MININN_FUNCTION(cublasLtMatmulDescDestroy);
  MININN_FUNCTION(cublasLtMatmulDescSetAttribute);
  MININN_FUNCTION(cublasLtMatmulPreferenceCreate);
  MININN_FUNCTION(cublasLtMatmulPreferenceDestroy);
  MININN_FUNCTION(cublasLtMatmulPreferenceSetAttribute);
  MININN_FUNCTION(cublasLtMatrixLayoutCreate);
  MININN_FUNCTION(cublasLtMatrixLayoutDestroy);
  MININN_FUNCTION(cublasLtMatrixLayoutSetAttribute);
#undef MININN_FUNCTION
};
Api& api() {
  static auto* const a = new Api;  // handles of threads that end late are destroyed by it
  return *a;
}

void check(cublasStatus_t s, const char* call) {
  if (s != CUBLAS_STATUS_SUCCESS) throw KernelError(message("cuBLAS: ", call, ": ", api().cublasLtGetStatusName(s)));
}
#define MININN_CUBLAS_CHECK(function, ...) check(api().function(__VA_ARGS__), #function)

// A thread's way into cuBLAS on one device.
class Handle {
 public:
  Handle() {
    if (const Refusal r = api().library.refusal()) {
      why_ = r.why;
      return;
    }
    const cublasStatus_t s = api().cublasLtCreate(&handle_);
    if (s != CUBLAS_STATUS_SUCCESS) why_ = cannot_start("cuBLAS", api().cublasLtGetStatusName(s));
  }
  ~Handle() {
    if (why_.empty()) (void)api().cublasLtDestroy(handle_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  Refusal refusal() const { return {why_.empty() ? nullptr : why_.c_str()}; }
  cublasLtHandle_t get() const { return handle_; }

 private:
  cublasLtHandle_t handle_ = nullptr;
  std::string why_;
};

// Of the device that is current.
const Handle& handle(int64_t device) {
  thread_local std::map<int64_t, Handle> handles;
  return handles[device];
}

cudaDataType_t type_of(DType t) { return t == DType::f64 ? CUDA_R_64F : t == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

using Desc = std::shared_ptr<cublasLtMatmulDescOpaque_t>;
using Layout = std::shared_ptr<cublasLtMatrixLayoutOpaque_t>;
using Preference = std::shared_ptr<cublasLtMatmulPreferenceOpaque_t>;

template <class T>
void set(const Desc& d, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  MININN_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute, d.get(), attribute, &value, sizeof value);
}
template <class T>
void set(const Layout& l, cublasLtMatrixLayoutAttribute_t attribute, const T& value) {
  MININN_CUBLAS_CHECK(cublasLtMatrixLayoutSetAttribute, l.get(), attribute, &value, sizeof value);
}
template <class T>
void set(const Preference& p, cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
  MININN_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute, p.get(), attribute, &value, sizeof value);
}

struct Key {
  Problem problem;
  int64_t dtype, bias, alignment, device;
};

constexpr size_t kWorkspace = 32 << 20;  // what NVIDIA advises for an H100

Desc make_desc(const Key& k) {
  const bool f64 = DType(k.dtype) == DType::f64;
  cublasLtMatmulDesc_t made = nullptr;
  MININN_CUBLAS_CHECK(cublasLtMatmulDescCreate, &made, f64 ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                      f64 ? CUDA_R_64F : CUDA_R_32F);
  Desc d(made, [](cublasLtMatmulDesc_t p) { (void)api().cublasLtMatmulDescDestroy(p); });
  const auto operation = [](const Matrix& m) { return int32_t(m.transposed ? CUBLAS_OP_T : CUBLAS_OP_N); };
  set(d, CUBLASLT_MATMUL_DESC_TRANSA, operation(k.problem.a));
  set(d, CUBLASLT_MATMUL_DESC_TRANSB, operation(k.problem.b));
  if (k.bias) set(d, CUBLASLT_MATMUL_DESC_EPILOGUE, uint32_t(CUBLASLT_EPILOGUE_BIAS));
  return d;
}

Layout make_layout(const Matrix& m, const Key& k) {
  cublasLtMatrixLayout_t made = nullptr;
  MININN_CUBLAS_CHECK(cublasLtMatrixLayoutCreate, &made, type_of(DType(k.dtype)), uint64_t(m.rows), uint64_t(m.columns),
                      m.ld);
  Layout l(made, [](cublasLtMatrixLayout_t p) { (void)api().cublasLtMatrixLayoutDestroy(p); });
  set(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, int32_t(k.problem.batch));
  set(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, m.batch);
  return l;
}

Preference make_preference(const Key& k) {
  cublasLtMatmulPreference_t made = nullptr;
  MININN_CUBLAS_CHECK(cublasLtMatmulPreferenceCreate, &made);
  Preference p(made, [](cublasLtMatmulPreference_t q) { (void)api().cublasLtMatmulPreferenceDestroy(q); });
  set(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspace);
  // Partial sums in the type of the result would be rounded to bf16.
  set(p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  for (const auto attribute : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                               CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    set(p, attribute, uint32_t(k.alignment));
  return p;
}

// A product with the algorithm that cuBLAS advises, or why it has none.
class Plan {
 public:
  // `bias` may be another one when it runs; without any, cuBLAS may find no algorithm that adds one.
  Plan(const Key& k, const void* bias) : key_(k) {
    refusal_ = handle(k.device).refusal();
    if (refusal_) return;
    desc_ = make_desc(k);
    if (bias) set(desc_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    a_ = make_layout(k.problem.a, k);
    b_ = make_layout(k.problem.b, k);
    c_ = make_layout(k.problem.c, k);
    int found = 0;
    const cublasStatus_t s =
        api().cublasLtMatmulAlgoGetHeuristic(handle(k.device).get(), desc_.get(), a_.get(), b_.get(), c_.get(),
                                             c_.get(), make_preference(k).get(), 1, &advice_, &found);
    if (s != CUBLAS_STATUS_NOT_SUPPORTED) check(s, "cublasLtMatmulAlgoGetHeuristic");
    if (found == 0 || advice_.state != CUBLAS_STATUS_SUCCESS) refusal_ = {"cuBLAS has no algorithm for this case"};
  }

  Refusal refusal() const { return refusal_; }

  void run(const op::Matmul& mm, const ExecContext& at, cudaStream_t stream) const {
    const double f64[] = {1, 0};
    const float f32[] = {1, 0};
    const bool in_f64 = DType(key_.dtype) == DType::f64;
    const void *one = in_f64 ? static_cast<const void*>(&f64[0]) : &f32[0],
               *zero = in_f64 ? static_cast<const void*>(&f64[1]) : &f32[1];
    const CView &left = key_.problem.swapped ? mm.b : mm.a, &right = key_.problem.swapped ? mm.a : mm.b;
    if (mm.bias) set(desc_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, mm.bias.data);
    Scratch<uint8_t> workspace(int64_t(advice_.workspaceSize), at);
    MININN_CUBLAS_CHECK(cublasLtMatmul, handle(key_.device).get(), desc_.get(), one, left.data, a_.get(), right.data,
                        b_.get(), zero, mm.c.data, c_.get(), mm.c.data, c_.get(), &advice_.algo, workspace.data(),
                        advice_.workspaceSize, stream);
  }

 private:
  Key key_;
  Refusal refusal_;
  Desc desc_;
  Layout a_, b_, c_;
  cublasLtMatmulHeuristicResult_t advice_{};
};

// Where vectors of 16 bytes may be read, or no more than elements.
int64_t alignment(const op::Matmul& mm) {
  const auto bits = [](const void* p) { return std::bit_cast<uintptr_t>(p); };
  const uintptr_t all = bits(mm.a.data) | bits(mm.b.data) | bits(mm.bias.data) | bits(mm.c.data);
  return all % 16 == 0 ? 16 : int64_t(size_of(mm.c.dtype));
}

const Plan& plan(const op::Matmul& mm, int device) {
  thread_local PlanCache<Key, Plan> cache;
  const Key key{problem_of(mm), int64_t(mm.c.dtype), bool(mm.bias), alignment(mm), device};
  return cache.get(key, [&] { return Plan(key, mm.bias.data); });
}

Refusal admits(const op::Matmul& mm) { return plan(mm, current_device()).refusal(); }

void run(const op::Matmul& mm, const ExecContext& at) {
  const cudaStream_t stream = stream_of(at.stream);  // and its device is current
  const Plan& p = plan(mm, at.device.index);
  if (const Refusal r = p.refusal())
    throw KernelError(message("cublas.auto: ", r.why));  // for operands that lie otherwise
  p.run(mm, at, stream);
}

}  // namespace

constinit const Kernel<op::Matmul> matmul{"cublas.auto", {.family = Family::vendor}, refuse, run, nullptr, admits};

}  // namespace mininn::cuda::cublas
