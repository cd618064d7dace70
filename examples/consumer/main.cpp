// Trains a small network on points inside and outside a circle, quantizes it to int8 and checks the results of both.
#include <mininn/mininn.h>
#include <mininn/nn/linear.h>  // single headers work as well

#include <cstdlib>
#include <filesystem>
#include <iostream>

using namespace mininn;

namespace {

void require(bool ok, const char* what) {
  if (ok) return;
  std::cerr << "FAILED: " << what << '\n';
  std::exit(1);
}

// n points of the square [-1,1]^2 as [n,2]; label 1 inside the circle that covers half of it.
std::pair<Tensor, Tensor> points(int64_t n, Generator& g) {
  std::vector<float> x;
  std::vector<int64_t> y;
  for (int64_t i = 0; i < n; ++i) {
    const double a = 2 * g.uniform() - 1, b = 2 * g.uniform() - 1;
    x.insert(x.end(), {float(a), float(b)});
    y.push_back(a * a + b * b < 0.6366);
  }
  return {Tensor::from(x, {n, 2}), Tensor::from(y, {n})};
}

double accuracy(const Tensor& logits, const Tensor& labels) {
  const Tensor predicted = argmax(logits, 1);
  int64_t correct = 0;
  for (size_t i = 0; i < size_t(labels.numel()); ++i)
    correct += predicted.data<int64_t>()[i] == labels.data<int64_t>()[i];
  return double(correct) / double(labels.numel());
}

}  // namespace

void run() {
  nn::ParamStore params(Device::cpu(), /*seed=*/1);
  nn::Sequential net(params.root());
  net.add<nn::Linear>({.in = 2, .out = 32})
      .add<nn::ReLU>()
      .add<nn::Linear>({.in = 32, .out = 32})
      .add<nn::ReLU>()
      .add<nn::Linear>({.in = 32, .out = 2});

  Generator g(2);
  optim::AdamW opt(params.trainable());
  for (int64_t step = 0; step < 400; ++step) {
    const auto [x, y] = points(128, g);
    const Tensor loss = cross_entropy(net(x), y);
    opt.zero_grad();
    loss.backward();
    opt.step(optim::cosine_lr(0.01, step, 400));
  }
  params.train(false);

  const NoGradGuard no_grad;
  const auto [x, y] = points(2000, g);
  const Tensor float_logits = net(x);
  const double float_accuracy = accuracy(float_logits, y);

  const auto folder = std::filesystem::temp_directory_path();
  const auto float_file = folder / "mininn_consumer.safetensors";
  nn::save_safetensors(float_file, params);
  for (Tensor p : params.all()) p.fill(0);
  nn::load_safetensors(float_file, params);
  require(net(x).to_vector() == float_logits.to_vector(), "a loaded network gives the same numbers");

  quant::Calibrator calibrator(nn::trace(net, x));
  calibrator.observe(points(512, g).first);
  const quant::Int8Net int8 = calibrator.compile();
  const Tensor int8_logits = int8.forward(x);
  const double int8_accuracy = accuracy(int8_logits, y);

  const auto int8_file = folder / "mininn_consumer_int8.safetensors";
  int8.save(int8_file);
  require(quant::Int8Net::load(int8_file).forward(x).to_vector() == int8_logits.to_vector(),
          "a loaded int8 network gives the same numbers");
  require(int8.forward(slice(x, 0, 0, 3)).to_vector() == slice(int8_logits, 0, 0, 3).to_vector(),
          "int8 results do not depend on the batch");
  std::filesystem::remove(float_file);
  std::filesystem::remove(int8_file);

  std::cout << "fp32 accuracy " << float_accuracy << ", int8 accuracy " << int8_accuracy << '\n' << int8.report();
  require(float_accuracy > 0.97, "the float network has learned the circle");
  require(int8_accuracy > float_accuracy - 0.02, "the int8 network agrees with it");
  require(bool(std::cout.flush()), "what was printed has arrived");
}

int main() {
  try {
    run();
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "consumer: " << e.what() << '\n';
    return 1;
  }
}
