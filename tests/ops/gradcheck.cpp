// Every gradient of the library against central differences, and the checker against wrong gradients.
#include "tests/support/gradcheck.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>

#include "core/autograd.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "tests/ops/gradcheck_cases.h"
#include "tests/support/catch.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::testing;

TEST_CASE("every gradient agrees with central differences") {
  for (const GradCase& c : grad_cases()) CHECK(gradcheck(c, test_seed()) == "");
}

namespace {

// y = x^2 element by element, with three wrong gradients and a right one.
struct OnePercentBackward {
  static constexpr const char* op = "one_percent";
  Saved x;
  Grads backward(const Tensor& gy, const Wants&) const { return {x.get() * gy * 2.02}; }
};
struct TransposedBackward {
  static constexpr const char* op = "transposed";
  Saved x;
  Grads backward(const Tensor& gy, const Wants&) const { return {transpose(x.get() * gy * 2.0, 0, 1)}; }
};
struct MissingElementBackward {
  static constexpr const char* op = "missing_element";
  Saved x;
  Grads backward(const Tensor& gy, const Wants&) const {
    Tensor gx = x.get() * gy * 2.0;
    gx.mutable_data<double>()[3] = 0;
    return {gx};
  }
};
struct RightBackward {
  static constexpr const char* op = "right";
  Saved x;
  Grads backward(const Tensor& gy, const Wants&) const { return {x.get() * gy * 2.0}; }
};

template <class Backward>
std::string check_square() {
  const auto fn = [](const std::vector<Tensor>& in) {
    Tensor y;
    {
      const NoGradGuard no_grad;
      y = in[0] * in[0];
    }
    return attach<Backward>(y, {in[0]}, {}, in[0]);
  };
  return gradcheck({Backward::op, "self-test", {RandomTensors(1).away_from_zero({3, 3}, 0.5, 2)}, fn}, 1);
}

}  // namespace

TEST_CASE("the gradient checker accepts a right gradient and rejects wrong ones") {
  CHECK(check_square<RightBackward>() == "");
  CHECK(check_square<OnePercentBackward>() != "");
  CHECK(check_square<TransposedBackward>() != "");
  const std::string missing = check_square<MissingElementBackward>();
  CHECK(missing.find("input 0[3,3], element 3") != std::string::npos);
}

TEST_CASE("every backward struct in ops/ has a case", "[lint]") {
  std::set<std::string> covered;
  for (const GradCase& c : grad_cases()) covered.insert(c.op);

  size_t found = 0;
  const std::regex definition(R"(struct (\w+Backward) \{\s*static constexpr const char\* op = ([^;]+);)");
  const std::regex any(R"(struct \w+Backward\b[^;{]*\{)");
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(MININN_SOURCE_DIR) / "ops")) {
    if (entry.path().extension() != ".h" && entry.path().extension() != ".cpp") continue;
    std::ifstream file(entry.path());
    const std::string text(std::istreambuf_iterator<char>(file), {});
    using Matches = std::sregex_iterator;
    INFO(entry.path().filename());
    // Each struct names its op first thing, or this test could not read it.
    CHECK(std::distance(Matches(text.begin(), text.end(), any), Matches()) ==
          std::distance(Matches(text.begin(), text.end(), definition), Matches()));
    for (Matches m(text.begin(), text.end(), definition); m != Matches(); ++m, ++found) {
      const std::string name = (*m)[2];
      INFO((*m)[1] << " of op " << name);
      if (name != "F::op") CHECK(covered.count(name.substr(1, name.size() - 2)) == 1);  // functors: see below
    }
  }
  CHECK(found > 10);

  const auto check = [&]<class F>() {
    INFO(F::op);
    CHECK(covered.count(F::op) == 1);
  };
  op::for_each_functor(op::UnaryOps(), check);
  op::for_each_functor(op::BinaryOps(), check);
  op::for_each_functor(op::ScalarOps(), check);
}
