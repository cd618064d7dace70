#include "ops/work.h"

#include "ops/conv2d.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/pool2d.h"
#include "ops/qconv2d.h"
#include "ops/qlinear.h"
#include "ops/qpool.h"
#include "tests/support/catch.h"

using namespace mininn;

namespace {

Work work(const OpDef& op, const std::vector<TensorInfo>& in, const Attrs& attrs = {}) {
  return work_of(op, in, attrs, op.infer(in, attrs));
}

}  // namespace

TEST_CASE("layers and products cost their multiply-accumulates, pools the numbers in their windows") {
  const TensorInfo x{{2, 6, 9, 7}}, w{{8, 3, 3, 2}}, none = TensorInfo::none();
  const Conv2dParams o{.stride = {2, 1}, .padding = 1, .groups = 2};
  const int64_t wanted = Conv2dGeometry::make("test", x.shape, w.shape, o).macs();
  CHECK(work(opdef::conv2d, {x, w, none}, to_attrs(o)).macs == wanted);
  CHECK(work(opdef::conv2d_fused, {x, w, none, none}, to_attrs(Conv2dFusedOptions{o})).macs == wanted);
  const TensorInfo codes{x.shape, DType::u8, QParams{}}, scale{{8}}, bias{{1, 8}, DType::i32};
  CHECK(work(opdef::qconv2d, {codes, {w.shape, DType::i8}, scale, bias, none}, to_attrs(QConv2dOptions{o})).macs ==
        wanted);
  CHECK(work(opdef::linear, {{{2, 5}}, {{7, 5}}, none}).macs == 2 * 5 * 7);
  CHECK(work(opdef::qlinear, {{{2, 5}, DType::i32, QParams{}}, {{7, 5}, DType::i8}, {{7}}, {{7}, DType::i32}},
             to_attrs(QLinearOptions{9}))
            .macs == 2 * 5 * 7);
  CHECK(work(opdef::matmul, {{{2, 5}}, {{5, 7}}}).macs == 2 * 5 * 7);
  CHECK(work(opdef::matmul, {{{3, 2, 5}}, {{3, 5, 7}}}).macs == 3 * 2 * 5 * 7);
  CHECK(work(opdef::max_pool2d, {x}, to_attrs(Pool2dOptions{3, 2, 1})).reads == 2 * 6 * 5 * 4 * 9);
  CHECK(work(opdef::avg_pool2d, {x}, to_attrs(AvgPool2dOptions{{3, 2, 1}, true})).reads == 2 * 6 * 5 * 4 * 9);
  CHECK(work(opdef::qmax_pool2d, {codes}, to_attrs(QPoolWindow{3, 2, 1})).reads == 2 * 6 * 5 * 4 * 9);
  const Work relu = work(opdef::functor<op::Relu>, {x});
  CHECK(relu.macs == 0);
  CHECK(relu.reads == 0);
}

TEST_CASE("work beyond 63 bits is refused") {
  const int64_t side = int64_t{1} << 31;
  CHECK_THROWS_AS(work(opdef::matmul, {{{side, side}}, {{side, side}}}), ShapeError);
}
