// The one source with cuDNN's frontend, which takes long to compile.
#include "cuda/cudnn/plan.h"

#include <cudnn_frontend.h>

#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cuda/backend.h"
#include "cuda/library.h"
#include "cuda/scratch.h"

namespace fe = cudnn_frontend;

void* cudnn_frontend::cudnn_dlhandle = nullptr;  // where it finds cuDNN's functions: set by library()

namespace mininn::cuda::cudnn {
namespace {

Library& library() {
  static auto* const l = [] {
    auto* const opened = new Library(message("libcudnn.so.", CUDNN_MAJOR));
    (void)opened->function<decltype(cudnnBackendExecute)>("cudnnBackendExecute");  // or it is no cuDNN
    fe::cudnn_dlhandle = opened->handle();
    return opened;
  }();
  return *l;
}

void check(fe::error_t e, const char* what) {
  if (e.is_bad()) throw KernelError(message("cuDNN: ", what, ": ", e.get_message()));
}

// A thread's way into cuDNN on one device.
class Handle {
 public:
  Handle() {
    const cudnnStatus_t s = fe::detail::create_handle(&handle_);
    if (s != CUDNN_STATUS_SUCCESS) why_ = cannot_start("cuDNN", fe::detail::get_error_string(s));
  }
  ~Handle() {
    if (why_.empty()) (void)fe::detail::destroy_handle(handle_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  const std::string& why() const { return why_; }
  cudnnHandle_t get() const { return handle_; }

 private:
  cudnnHandle_t handle_ = nullptr;
  std::string why_;
};

using SharedHandle = std::shared_ptr<const Handle>;  // its plans do not outlive it

// Of `device`, which is current.
SharedHandle handle(int device) {
  thread_local std::map<int, SharedHandle> handles;
  SharedHandle& h = handles[device];
  if (!h) h = std::make_shared<Handle>();
  return h;
}

fe::DataType_t type_of(int64_t dtype) {
  return DType(dtype) == DType::bf16 ? fe::DataType_t::BFLOAT16 : fe::DataType_t::FLOAT;
}

using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;
enum Uid : int64_t { kX = 1, kW, kY, kBias, kResidual };

Tensor& describe(Tensor& t, Uid uid, int64_t n, int64_t c, int64_t h, int64_t w, int64_t dtype) {
  t->set_uid(uid).set_dim({n, c, h, w}).set_stride({h * w * c, 1, w * c, c}).set_data_type(type_of(dtype));
  return t;
}

template <class Attributes>
Attributes convolution(const Conv2dGeometry& g) {
  return Attributes()
      .set_padding({g.pad_h, g.pad_w})
      .set_stride({g.stride_h, g.stride_w})
      .set_dilation({g.dil_h, g.dil_w});
}

}  // namespace

struct Plan::Graph : fe::graph::Graph {
  explicit Graph(const Problem& p) {
    set_compute_data_type(fe::DataType_t::FLOAT).set_intermediate_data_type(fe::DataType_t::FLOAT);
    if (DType(p.dtype) == DType::f32) unwanted_.push_back(fe::NumericalNote_t::TENSOR_CORE);  // there f32 is TF32
    const Conv2dGeometry& g = p.g;
    const auto x = [&](Tensor t) { return describe(t, kX, g.n, g.ic, g.ih, g.iw, p.dtype); };
    const auto w = [&](Tensor t) { return describe(t, kW, g.oc, g.icg(), g.kh, g.kw, p.dtype); };
    const auto y = [&](Tensor t, Uid uid) { return describe(t, uid, g.n, g.oc, g.oh, g.ow, p.dtype); };
    const auto input = [&] { return tensor(fe::graph::Tensor_attributes()); };
    const auto sum = [&](Tensor a, Tensor b) {
      return pointwise(a, b, fe::graph::Pointwise_attributes().set_mode(fe::PointwiseMode_t::ADD));
    };
    switch (p.pass) {
      case Pass::forward: {
        Tensor result = conv_fprop(x(input()), w(input()), convolution<fe::graph::Conv_fprop_attributes>(g));
        if (p.bias_dtype >= 0) {
          Tensor bias = input();
          result = sum(result, describe(bias, kBias, 1, g.oc, 1, 1, p.bias_dtype));
        }
        if (p.residual) result = sum(result, y(input(), kResidual));
        y(result, kY)->set_output(true);
        break;
      }
      case Pass::data:
        x(conv_dgrad(y(input(), kY), w(input()), convolution<fe::graph::Conv_dgrad_attributes>(g)))->set_output(true);
        break;
      case Pass::weights:
        w(conv_wgrad(y(input(), kY), x(input()), convolution<fe::graph::Conv_wgrad_attributes>(g)))->set_output(true);
        break;
    }
  }

  // `h`: of the device that it is for; null: that is described already. Returns why there is no plan.
  std::string build(SharedHandle h) {
    handle_ = std::move(h);
    if (validate().is_good() && (handle_ ? build_operation_graph(handle()) : build_operation_graph()).is_good() &&
        create_execution_plans({fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK}).is_good()) {
      deselect_numeric_notes(unwanted_);  // of the plans that there are now
      deselect_workspace_greater_than(kWorkspace);
      if (build_plans().is_good()) return {};
    }
    return "cuDNN has no engine for this case that is exact, repeatable and small";
  }

  cudnnHandle_t handle() const { return handle_->get(); }

 private:
  SharedHandle handle_;
  std::vector<fe::NumericalNote_t> unwanted_{
      fe::NumericalNote_t::DOWN_CONVERT_INPUTS, fe::NumericalNote_t::REDUCED_PRECISION_REDUCTION,
      fe::NumericalNote_t::NONDETERMINISTIC, fe::NumericalNote_t::FFT, fe::NumericalNote_t::WINOGRAD};
};

Plan::Plan(const Problem& p, int device) {
  if (const Refusal r = library().refusal()) {
    why_ = r.why;
    return;
  }
  const SharedHandle h = handle(device);
  why_ = h->why();
  if (!why_.empty()) return;
  graph_ = std::make_shared<Graph>(p);
  why_ = graph_->build(h);
}

Plan::Plan(const Problem& p, const std::string& properties) {
  if (const Refusal r = library().refusal()) throw KernelError(r.why);
  const auto device = std::make_shared<fe::DeviceProperties>();
  check(device->deserialize({properties.begin(), properties.end()}), "properties of a device");
  graph_ = std::make_shared<Graph>(p);
  graph_->set_device_properties(device);
  why_ = graph_->build(nullptr);
}

std::string Plan::engine() const {
  std::string name;
  check(graph_->get_plan_name(name), "the name of a plan");
  return name;
}

int64_t Plan::workspace() const {
  int64_t bytes = 0;
  check(graph_->get_workspace_size(bytes), "the workspace of a plan");
  return bytes;
}

void Plan::run(const Operands& o, const ExecContext& at) const {
  const cudnnHandle_t h = graph_->handle();
  if (fe::detail::set_stream(h, stream_of(at.stream)) != CUDNN_STATUS_SUCCESS)
    throw KernelError("cuDNN takes no stream");
  std::unordered_map<int64_t, void*> pointers;
  for (const auto& [uid, p] : {std::pair{kX, o.x}, {kW, o.w}, {kY, o.y}, {kBias, o.bias}, {kResidual, o.residual}})
    if (p) pointers.emplace(uid, const_cast<void*>(p));  // cuDNN knows none that are read only
  Scratch<uint8_t> memory(workspace(), at);
  check(graph_->execute(h, pointers, memory.data()), "execute");
}

int64_t version() { return library().refusal() ? 0 : int64_t(fe::detail::get_backend_version()); }

}  // namespace mininn::cuda::cudnn
