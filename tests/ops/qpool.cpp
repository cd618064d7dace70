#include "ops/qpool.h"

#include "ops/qlayout.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("int8 pooling refuses windows and shapes that do not fit") {
  const Tensor x = empty_codes({1, 4, 6, 6});
  Tensor y = empty_codes({1, 4, 3, 3});
  const op::QMaxPool2d good{x.view(), {.kernel = 3, .stride = 2, .padding = 1}, y.mutable_view()};
  CHECK_NOTHROW(check_qmax_pool2d(good));
  op::QMaxPool2d q = good;
  q.window.padding = 3;  // a window could lie wholly in the padding
  CHECK_THROWS_AS(check_qmax_pool2d(q), ValueError);
  q = good;
  q.window.stride = 0;
  CHECK_THROWS_AS(check_qmax_pool2d(q), ValueError);
  q = good;
  q.window.stride = 1;
  CHECK_THROWS_AS(check_qmax_pool2d(q), ShapeError);
  Tensor wide = empty_codes({1, 8, 3, 3});
  q = good;
  q.y = wide.mutable_view();
  CHECK_THROWS_AS(check_qmax_pool2d(q), ShapeError);

  op::QAvgPool2d avg{x.view(), 7, good.window, true, 1.0f, y.mutable_view(), 0, 0, 255};
  CHECK_NOTHROW(check_qavg_pool2d(avg));
  avg.scale = -1;
  CHECK_THROWS_AS(check_qavg_pool2d(avg), ValueError);
}

TEST_CASE("the global sum writes dense int32") {
  const Tensor x = empty_codes({2, 4, 6, 6});
  Tensor y = Tensor::empty({2, 4}, DType::i32), bad_shape = Tensor::empty({4, 2}, DType::i32),
         bad_type = Tensor::empty({2, 4});
  CHECK_NOTHROW(check_qglobal_sum({x.view(), y.mutable_view()}));
  CHECK_THROWS_AS(check_qglobal_sum({x.view(), bad_shape.mutable_view()}), ShapeError);
  CHECK_THROWS_AS(check_qglobal_sum({x.view(), bad_type.mutable_view()}), DTypeError);
}
