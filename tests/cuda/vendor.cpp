// What can be known of cuBLAS and cuDNN where there is no GPU: what they would be asked, and what is said where they do
// not start. (plans/ builds cuDNN's plans.)
#include <string>
#include <vector>

#include "core/backend.h"
#include "cuda/cublas/kernels.h"
#include "cuda/cublas/problem.h"
#ifdef MININN_HAVE_CUDNN
#include "cuda/cudnn/kernels.h"
#endif
#include "cuda/library.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"
#include "tests/support/kernel_operands.h"

using namespace mininn;
namespace cublas = mininn::cuda::cublas;

namespace {

std::string why(Refusal r) { return r ? r.why : ""; }

// That a library which there is gave no handle, and why.
void check_cannot_start(Refusal r, const std::string& library, const std::string& status) {
  const std::string said = why(r);
  if (said.ends_with(" was not found")) return;
  CHECK(said == library + " cannot start: " + backend(DeviceType::cuda).why_none() + " (" + status + ")");
}

struct Layout {
  bool transposed = false;
  int64_t gap = 0;  // between rows
};

// [batch, rows, columns] of random numbers that lie so.
Tensor matrices(int64_t batch, int64_t rows, int64_t columns, const Layout& l, Generator& g) {
  const int64_t lines = l.transposed ? columns : rows, pitch = (l.transposed ? rows : columns) + l.gap;
  const Tensor t = testing::random_tensor({batch, lines, pitch}, g, DType::f64);
  return t.as_strided({batch, rows, columns}, {lines * pitch, l.transposed ? 1 : pitch, l.transposed ? pitch : 1});
}

// What BLAS makes of a problem: its own definition, column by column, and the bias of cuBLAS's epilogue for each row.
void solve(const cublas::Problem& p, const op::Matmul& mm) {
  const auto at = [](const cublas::Matrix& m, int64_t i, int64_t row, int64_t column) {
    if (m.transposed) std::swap(row, column);
    REQUIRE((row < m.rows && column < m.columns && m.ld >= m.rows));
    return i * m.batch + column * m.ld + row;
  };
  const double *a = (p.swapped ? mm.b : mm.a).as<double>(), *b = (p.swapped ? mm.a : mm.b).as<double>();
  for (int64_t i = 0; i < p.batch; ++i)
    for (int64_t r = 0; r < p.c.rows; ++r)
      for (int64_t c = 0; c < p.c.columns; ++c) {
        double sum = mm.bias ? mm.bias.as<double>()[r] : 0;
        for (int64_t k = 0; k < p.k; ++k) sum += a[at(p.a, i, r, k)] * b[at(p.b, i, k, c)];
        mm.c.as<double>()[at(p.c, i, r, c)] = sum;
      }
}

struct Product {
  Tensor a = Tensor::zeros({1, 4, 5}), b = Tensor::zeros({1, 5, 6}), bias, c = Tensor::zeros({1, 4, 6});
  op::Matmul args() {
    return {a.size(0),       a.size(1), b.size(2), a.size(2), a.view(), b.view(), bias ? bias.view() : CView(),
            c.mutable_view()};
  }
};

}  // namespace

TEST_CASE("what BLAS is asked for is the product that was called for") {
  Generator g(testing::test_seed());
  INFO("MININN_TEST_SEED=" << testing::test_seed());
  const auto coin = [&] { return g.below(2) == 1; };
  int solved = 0;
  for (int n = 0; n < 300; ++n) {
    const auto size = [&] { return int64_t(1 + g.below(n < 150 ? 3 : 9)); };
    const auto layout = [&] { return Layout{coin(), coin() ? 0 : size()}; };
    const int64_t batch = size(), m = size(), columns = size(), k = size();
    const Tensor a = matrices(batch, m, k, layout(), g);
    Tensor b = matrices(batch, k, columns, layout(), g);
    if (coin()) b = b.as_strided(b.shape(), {0, b.strides()[1], b.strides()[2]});  // one for all
    Tensor c = matrices(batch, m, columns, layout(), g);
    const Tensor bias = testing::random_tensor({columns}, g, DType::f64);
    const op::Matmul mm{batch, m, columns, k, a.view(), b.view(), coin() ? bias.view() : CView(), c.mutable_view()};
    if (cublas::refuse(mm)) continue;
    solve(cublas::problem_of(mm), mm);
    const auto want = reference::matmul(batch, m, columns, k, a.to_vector(), b.to_vector(),
                                        mm.bias ? bias.to_vector() : reference::Values());
    testing::check_close(c.to_vector(), want, DType::f64);
    ++solved;
  }
  CHECK(solved > 200);
}

TEST_CASE("cuBLAS says why it refuses a matrix product") {
  Product p;
  CHECK(why(cublas::matmul.check(p.args())) == "");
  const Product whole = p;
  p.a = Tensor::zeros({1, 4, 10}).as_strided({1, 4, 5}, {40, 10, 2});
  CHECK(why(cublas::matmul.check(p.args())) == "needs matrices whose rows or columns lie one behind the other");
  p.a = Tensor::zeros({1, 1, 5}).as_strided({1, 4, 5}, {0, 0, 1});  // one row for all
  CHECK(why(cublas::matmul.check(p.args())) == "needs matrices whose rows or columns lie one behind the other");
  p = {Tensor::zeros({1, 0, 5}), whole.b, {}, Tensor::zeros({1, 0, 6})};
  CHECK(why(cublas::matmul.check(p.args())) == "takes no empty matrices");
  p = {Tensor::zeros({1, 1, 70000}), Tensor::zeros({1, 70000, 1}), {}, Tensor::zeros({1, 1, 1})};
  CHECK(why(cublas::matmul.check(p.args())) == "would lose digits of so long a sum");
  p = {whole.a, whole.b, Tensor::zeros({6}), Tensor::zeros({1, 6, 4}).as_strided({1, 4, 6}, {24, 1, 4})};
  CHECK(why(cublas::matmul.check(p.args())) == "adds a bias to results that lie row by row only");
  p.bias = {};
  CHECK(why(cublas::matmul.check(p.args())) == "");
  p = {Tensor::zeros({2, 4, 5}), Tensor::zeros({2, 5, 6}), {}, whole.c.as_strided({2, 4, 6}, {0, 6, 1})};
  CHECK(why(cublas::matmul.check(p.args())) == "needs results that lie one behind the other");
}

TEST_CASE("a library that is missing, broken or old is named in one sentence") {
  cuda::Library missing("libmininn_has_none.so.7");
  CHECK(why(missing.refusal()) == "libmininn_has_none.so.7 was not found");
  CHECK(missing.function<void()>("anything") == nullptr);
  CHECK(why(missing.refusal()) == "libmininn_has_none.so.7 was not found");

  const testing::TempFolder folder;
  const std::string broken = folder / "broken.so";
  testing::write_file(broken, "no library");
  CHECK(why(cuda::Library(broken).refusal()).starts_with(broken + " cannot be loaded: "));

  cuda::Library old("libm.so.6");
  CHECK(why(old.refusal()) == "");
  CHECK(old.function<double(double)>("cos")(0) == 1);
  CHECK(old.function<void()>("cublasLtCreate") == nullptr);
  CHECK(why(old.refusal()) == "libm.so.6 has no cublasLtCreate: it is another version than this program needs");
}

TEST_CASE("without a GPU cuBLAS says so, and own kernels are chosen") {
  if (device_count(DeviceType::cuda) > 0) return;  // then the parity tests run it
  Product p;
  const PreferenceGuard vendor(Preference::vendor);
  CHECK(kernels<op::Matmul>().select(p.args(), Device::cuda()).name == "own.gemm");
  check_cannot_start(cublas::matmul.refusal(p.args()), "cuBLAS", "CUBLAS_STATUS_NOT_INITIALIZED");
}

#ifdef MININN_HAVE_CUDNN
namespace {

struct Convolution {
  explicit Convolution(const Shape& x_shape, const Shape& w_shape, DType t = DType::f32, DType weights = DType::f32)
      : g(Conv2dGeometry::make("test", x_shape, w_shape, {})),
        x(Tensor::empty(x_shape, t, {}, MemoryFormat::channels_last)),
        y(Tensor::empty({g.n, g.oc, g.oh, g.ow}, t, {}, MemoryFormat::channels_last)),
        w(Tensor::empty(w_shape, weights)) {}
  op::Conv2dFwd forward() { return {g, x.view(), w.view(), {}, {}, false, y.mutable_view()}; }
  op::Conv2dBwdData data() { return {g, y.view(), w.view(), x.mutable_view()}; }
  op::Conv2dBwdWeights weights() { return {g, x.view(), y.view(), w.mutable_view()}; }

  Conv2dGeometry g;
  Tensor x, y, w;
};

}  // namespace

TEST_CASE("cuDNN says why it refuses a convolution") {
  const auto all_say = [](Convolution c, const std::string& what) {
    CHECK(why(cuda::cudnn::conv2d_fwd.check(c.forward())) == what);
    CHECK(why(cuda::cudnn::conv2d_bwd_data.check(c.data())) == what);
    CHECK(why(cuda::cudnn::conv2d_bwd_weights.check(c.weights())) == what);
  };
  all_say(Convolution({2, 4, 6, 6}, {8, 4, 3, 3}), "");
  all_say(Convolution({2, 4, 6, 6}, {8, 4, 3, 3}, DType::bf16, DType::bf16), "");
  all_say(Convolution({2, 4, 6, 6}, {8, 4, 3, 3}, DType::bf16), "");
  all_say(Convolution({2, 4, 6, 6}, {8, 4, 3, 3}, DType::f64, DType::f64), "takes f32 and bf16 only");
  all_say(Convolution({0, 4, 6, 6}, {8, 4, 3, 3}), "takes no empty tensors");
  Convolution shifted({2, 4, 6, 6}, {8, 4, 3, 3});
  shifted.x = Tensor::zeros({2 * 4 * 6 * 6 + 1}).as_strided(shifted.x.shape(), shifted.x.strides(), 1);
  all_say(shifted, "needs operands at multiples of 16 bytes");
  const std::string too_long = "would lose digits of so long a sum";
  Convolution inputs({1, 70000, 1, 1}, {1, 70000, 1, 1}), outputs({1, 1, 1, 1}, {70000, 1, 1, 1}),
      pixels({1, 1, 400, 400}, {1, 1, 1, 1});
  CHECK(why(cuda::cudnn::conv2d_fwd.check(inputs.forward())) == too_long);
  CHECK(why(cuda::cudnn::conv2d_bwd_data.check(outputs.data())) == too_long);
  CHECK(why(cuda::cudnn::conv2d_bwd_weights.check(pixels.weights())) == too_long);
}

TEST_CASE("cuDNN makes a weight gradient that it rounds only where it is preferred") {
  const Shape x{2, 4, 6, 6}, w{8, 4, 3, 3};
  const auto pays = [&](DType images, DType weights) {
    return cuda::cudnn::conv2d_bwd_weights.pays(Convolution(x, w, images, weights).weights());
  };
  CHECK(pays(DType::f32, DType::f32));
  CHECK(pays(DType::bf16, DType::bf16));
  const PreferenceGuard automatic(Preference::automatic);
  CHECK(!pays(DType::bf16, DType::f32));
  const PreferenceGuard vendor(Preference::vendor);
  CHECK(pays(DType::bf16, DType::f32));
}

TEST_CASE("without a GPU cuDNN says so, and own kernels are chosen") {
  if (device_count(DeviceType::cuda) > 0) return;  // then the parity tests run it
  Convolution c({2, 4, 6, 6}, {8, 4, 3, 3});
  const PreferenceGuard vendor(Preference::vendor);
  CHECK(kernels<op::Conv2dFwd>().select(c.forward(), Device::cuda()).name == "own.gemm");
  CHECK(kernels<op::Conv2dBwdData>().select(c.data(), Device::cuda()).name == "own.gemm");
  CHECK(kernels<op::Conv2dBwdWeights>().select(c.weights(), Device::cuda()).name == "own.gemm");
  check_cannot_start(cuda::cudnn::conv2d_fwd.refusal(c.forward()), "cuDNN", "CUDNN_STATUS_NOT_INITIALIZED");
}
#endif
