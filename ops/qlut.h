// Any unary elementwise op on u8 codes, exactly: a table of its 256 results.
#pragma once

#include "core/kernel.h"
#include "core/qparams.h"
#include "core/view.h"
#include "ops/op.h"

namespace mininn {

namespace op {

// y = table[x]
struct QLut {
  static constexpr std::string_view op = "qlut";
  CView x;      // u8 [N,C,H,W], pixel-strided (ops/qlayout.h)
  CView table;  // u8 [256]
  View y;       // u8, pixel-strided, shaped like x; only the C bytes of a pixel are written
};

}  // namespace op

// Codes [N,C,H,W] and a table u8 [256] -> codes that stand for numbers by `y`.
Tensor qlut(const Tensor& x, const Tensor& table, const QParams& y);

namespace opdef {
extern const OpDef qlut;
}

// Throws ShapeError or DTypeError unless `a` is as described.
void check_qlut(const op::QLut& a);

}  // namespace mininn
