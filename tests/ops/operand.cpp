#include "ops/operand.h"

#include <string_view>

#include "ops/batch_norm.h"
#include "ops/layout.h"
#include "ops/optimizer.h"
#include "ops/reduce.h"
#include "tests/ops/gradcheck_cases.h"
#include "tests/support/catch.h"
#include "tests/support/deferred_device.h"

using namespace mininn;
using namespace mininn::testing;
using mininn::detail::Operand;

namespace {

// What the check says about an operand that it refuses with E.
template <class E, class Check>
std::string refusal(const Check& check) {
  try {
    check();
  } catch (const E& e) {
    return e.what();
  }
  return "nothing was refused";
}

}  // namespace

TEST_CASE("the gate for operands says in one sentence which operand of which op is wrong, and what was found") {
  install_deferred_device();
  const Tensor x = Tensor::zeros({2, 3}), other = Tensor::zeros({4}, DType::i32);
  const Tensor elsewhere = Tensor::zeros({2, 3}, DType::f32, Device::custom());
  const Operand in("mix", "x", x), w("mix", "w", other);
  CHECK(refusal<ValueError>([] { Operand("mix", "w", Tensor()); }) == "mix: w is an undefined tensor");
  CHECK(refusal<DTypeError>([&] { w.floating(); }) == "mix: w must be f32, f64 or bf16, not i32[4]");
  CHECK(refusal<DTypeError>([&] { in.is(DType::u8, DType::i8); }) == "mix: x must be u8 or i8, not f32[2,3]");
  CHECK(refusal<DTypeError>([&] { in.is(DType::i64); }) == "mix: x must be i64, not f32[2,3]");
  CHECK(refusal<DTypeError>([&] { w.like(in); }) == "mix: w must be f32 like x, not i32[4]");
  const Operand far("mix", "w", elsewhere);
  CHECK(refusal<DeviceError>([&] { far.like(in); }) == "mix: w must be on cpu like x, not on custom:0");
  CHECK(refusal<DeviceError>([&] { far.beside(in); }) == "mix: w must be on cpu like x, not on custom:0");
  CHECK(refusal<ShapeError>([&] { in.shape({3, 2}); }) == "mix: x must be [3,2] here, not [2,3]");
  const Tensor turned = transpose(x, 0, 1);
  CHECK(refusal<ShapeError>([&] { Operand("mix", "x", turned).contiguous(); }) ==
        "mix: x must be contiguous, not [3,2] with strides [1,3]");
}

TEST_CASE("an operand that fits passes the gate, and is copied only where its order in memory is not the wanted one") {
  const Tensor x = Tensor::zeros({1, 2, 3, 4}), y = Tensor::zeros({1, 2, 3, 4});
  const Operand in("mix", "x", x);
  CHECK(in.floating().is(DType::f32).like(Operand("mix", "y", y)).shape({1, 2, 3, 4}).contiguous().dense().id() ==
        x.id());
  const Tensor last = in.dense(MemoryFormat::channels_last);
  CHECK(last.is_channels_last());
  CHECK(last.to_vector() == x.to_vector());
}

TEST_CASE("every op refuses an undefined first operand by its name") {
  for (const GradCase& c : grad_cases()) {
    if (std::string_view(c.op) == "batch_norm") continue;  // these cases look at it themselves
    INFO(c.op << ", " << c.what);
    std::vector<Tensor> in = c.inputs;
    in[0] = Tensor();
    CHECK_THROWS_WITH(c.fn(in), Catch::EndsWith(" is an undefined tensor"));
  }
  Tensor none, state;
  const Tensor gamma = Tensor::zeros({2}), beta = Tensor::zeros({2});
  Tensor mean = Tensor::zeros({2}), var = Tensor::zeros({2});
  CHECK_THROWS_WITH(batch_norm(none, gamma, beta, mean, var, {}), Catch::EndsWith(" is an undefined tensor"));
  CHECK_THROWS_WITH(argmax(none, 0), Catch::EndsWith(" is an undefined tensor"));
  CHECK_THROWS_WITH(sgd_update(none, Tensor::zeros({2}), state, {}), Catch::EndsWith(" is an undefined tensor"));
}
