// cifar_resnet eval: what a network file does on the test set.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/file.h"
#include "core/kernel.h"
#include "examples/cifar_resnet/network.h"
#include "examples/cifar_resnet/options.h"
#include "examples/cifar_resnet/results.h"
#include "ops/qconv2d.h"

namespace cifar_resnet {

using namespace mininn;
using nlohmann::json;

namespace {

std::optional<ForceKernel> force(const std::string& text) {
  if (text.empty()) return {};
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    throw ValueError(message("--kernel '", text, "': write op=kernel, e.g. qconv2d=own.direct.avx2"));
  return std::optional<ForceKernel>(std::in_place, text.substr(0, equals), text.substr(equals + 1));
}

}  // namespace

void list_int8_kernels() {
  for (const auto& k : qconv2d_kernels().kernels(DeviceType::cpu)) std::printf("%s\n", std::string(k.name).c_str());
}

void eval(const EvalOptions& o) {
  apply(o);
  if (!o.json.empty()) require_writable(o.json);
  const auto forced = force(o.kernel);
  const Classify classify = load_classifier(o.model);
  const data::Dataset test = open_data(o, data::Split::test, o.limit_test);
  const Evaluation e = evaluate(classify, test, o.batch_size, o.model.filename().string());
  std::printf("%lld images: accuracy %.2f%%, loss %.4f, %.0f images/s\nlogits SHA-256 %s\n", (long long)e.images,
              100 * e.accuracy, e.loss, e.images_per_s, e.logits_sha256.c_str());
  if (!o.json.empty())
    write_json(o.json, {{"accuracy", e.accuracy},
                        {"loss", e.loss},
                        {"images", e.images},
                        {"images_per_s", e.images_per_s},
                        {"logits_sha256", e.logits_sha256}});
}

}  // namespace cifar_resnet
