// cifar_resnet eval: what a network file does on the test set.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/file.h"
#include "core/kernel.h"
#include "examples/cifar_resnet/network.h"
#include "examples/cifar_resnet/options.h"
#include "examples/cifar_resnet/outputs.h"
#include "examples/cifar_resnet/results.h"
#include "ops/qconv2d.h"
#include "quant/int8_file.h"

namespace cifar_resnet {

using namespace mininn;
using nlohmann::json;

namespace {

void force(std::optional<ForceKernel>& forced, const std::string& text, const Path& model) {
  const auto equals = std::min(text.find('='), text.size());
  const std::string op = text.substr(0, equals), kernels = text.substr(std::min(equals + 1, text.size()));
  const std::string between = ',' + kernels + ',';
  if (op.empty() || between.find(",,") != between.npos)
    throw ValueError(message("--kernel '", excerpt(text), "': write op=kernel, e.g. qconv2d=own.direct.avx2"));
  forced.emplace(op, kernels);
  const bool int8 = quant::is_int8_file(model);
  if (op.starts_with('q') != int8)
    throw ValueError(
        message("--kernel: ", model.string(), " is an ", int8 ? "int8" : "fp32", " network, which runs no ", op));
}

}  // namespace

void list_int8_kernels() {
  for (const auto& k : kernels<op::QConv2d>().candidates(DeviceType::cpu))
    std::printf("%s\n", std::string(k.name).c_str());
}

void eval(const EvalOptions& o) {
  Device device = apply(o);
  if (o.kernel && o.device == "auto") device = Device::cpu();  // whose kernels `kernels` lists
  std::vector<NamedFile> read = data_files(o);
  read.push_back({"--model", o.model});
  require_distinct({{"--json", o.json}}, read);
  if (!o.json.empty()) require_writable(o.json);
  std::optional<ForceKernel> forced;
  if (o.kernel) force(forced, *o.kernel, o.model);
  const Classify classify = load_classifier(o.model, device);
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
