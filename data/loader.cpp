#include "data/loader.h"

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <numeric>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/random.h"

namespace mininn::data {

struct Loader::State {
  Dataset dataset;
  LoaderOptions o;

  int64_t batches() const {
    const bool rest = dataset.size() % o.batch_size != 0 && !o.drop_last;
    return dataset.size() / o.batch_size + rest;
  }

  std::vector<int64_t> order(int64_t epoch) const {
    if (o.shuffle) {
      Generator g(o.seed, uint64_t(epoch));
      return permutation(dataset.size(), g);
    }
    std::vector<int64_t> all(size_t(dataset.size()));
    std::iota(all.begin(), all.end(), int64_t{0});
    return all;
  }

  // Number b of an epoch whose images come in this order.
  Batch batch(std::span<const int64_t> order, int64_t b, int64_t epoch) const {
    const int64_t begin = b * o.batch_size, count = std::min(o.batch_size, int64_t(order.size()) - begin);
    return make(order.subspan(size_t(begin), size_t(count)), epoch);
  }

  Batch make(std::span<const int64_t> indices, int64_t epoch) const {
    Tensor labels = Tensor::empty({int64_t(indices.size())}, DType::i64);
    const auto from = dataset.labels.data<int64_t>();
    const auto to = labels.mutable_data<int64_t>();
    for (size_t i = 0; i < indices.size(); ++i) to[i] = from[size_t(indices[i])];
    return {augment(dataset.images, indices, o.augment, o.normalization, o.seed, epoch),
            labels.to(dataset.images.device())};
  }
};

// The thread that makes batches, and the queue between it and the iterator. Where a device makes them there is neither:
// asking it takes no time.
struct Loader::Epoch::Producer {
  Producer(std::shared_ptr<const State> s, int64_t e, int64_t first_batch)
      : state(std::move(s)), epoch(e), next(first_batch), process(::getpid()) {
    if (state->dataset.images.device().type == DeviceType::cpu)
      thread = std::thread([this, first_batch] { run(first_batch); });
  }
  ~Producer() {
    if (!thread.joinable()) return;
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    room.notify_one();
    thread.join();
  }

  void run(int64_t first_batch) {
    std::exception_ptr failure;
    try {
      const std::vector<int64_t> order = state->order(epoch);
      for (int64_t b = first_batch; b < state->batches(); ++b)
        if (!push(state->batch(order, b, epoch))) return;
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard lock(mutex);
    error = failure;
    done = true;
    ready.notify_one();
  }

  // False if nobody wants more.
  bool push(Batch b) {
    std::unique_lock lock(mutex);
    room.wait(lock, [&] { return stop || queue.size() < size_t(state->o.prefetch); });
    if (stop) return false;
    queue.push_back(std::move(b));
    ready.notify_one();
    return true;
  }

  // The next batch; undefined tensors after the last one. Batches made before an error are delivered first.
  Batch pop() {
    if (!thread.joinable() || is_copy()) return make_next();
    std::unique_lock lock(mutex);
    ready.wait(lock, [&] { return done || !queue.empty(); });
    if (queue.empty()) {
      if (error) std::rethrow_exception(error);
      return {};
    }
    Batch b = std::move(queue.front());
    queue.pop_front();
    room.notify_one();
    ++next;
    return b;
  }

  Batch make_next() {
    if (next >= state->batches()) return {};
    if (sequence.empty()) sequence = state->order(epoch);
    return state->batch(sequence, next++, epoch);
  }

  bool is_copy() const { return ::getpid() != process; }  // by fork(), which leaves out the thread

  std::shared_ptr<const State> state;
  int64_t epoch, next;  // next: the batch that pop() gives
  pid_t process;
  std::vector<int64_t> sequence;  // of make_next()
  std::mutex mutex;
  std::condition_variable room, ready;  // there is room in the queue; there is something to take (or no more comes)
  std::deque<Batch> queue;
  std::exception_ptr error;
  bool stop = false, done = false;
  std::thread thread;
};

Loader::Loader(const Dataset& dataset, const LoaderOptions& options)
    : state_(std::make_shared<const State>(State{dataset, options})) {
  if (!dataset.images || dataset.size() < 1) throw ValueError("Loader: the dataset has no images");
  if (options.batch_size < 1) throw ValueError(message("Loader: batch size ", options.batch_size, " is below 1"));
  if (options.prefetch < 1) throw ValueError(message("Loader: prefetch ", options.prefetch, " is below 1"));
  if (dataset.labels.dtype() != DType::i64)
    throw DTypeError(message("Loader: labels are ", name(dataset.labels.dtype()), ", expected i64"));
  if (dataset.labels.shape() != Shape{dataset.size()})
    throw ShapeError(
        message("Loader: labels ", dataset.labels.shape(), " do not match images ", dataset.images.shape()));
  augment(dataset.images, {}, options.augment, options.normalization, 0, 0);  // an empty batch: only the checks
}

int64_t Loader::batches() const { return state_->batches(); }

int64_t Loader::images() const { return std::min(batches() * state_->o.batch_size, state_->dataset.size()); }

Loader::Epoch Loader::epoch(int64_t e, int64_t first_batch) const {
  if (e < 0 || first_batch < 0)
    throw ValueError(message("Loader: epoch ", e, ", first batch ", first_batch, ": neither may be negative"));
  return Epoch(std::unique_ptr<Epoch::Producer, Epoch::Stop>(new Epoch::Producer(state_, e, first_batch)));
}

// After fork() the thread cannot be joined, and the mutex and the condition variables are as it left them: the child
// leaves them alone.
void Loader::Epoch::Stop::operator()(Producer* p) const {
  if (!p->is_copy()) delete p;
}

Loader::Epoch::Epoch(std::unique_ptr<Producer, Stop> p) : producer_(std::move(p)) {}
Loader::Epoch::Epoch(Epoch&&) noexcept = default;
Loader::Epoch& Loader::Epoch::operator=(Epoch&&) noexcept = default;
Loader::Epoch::~Epoch() = default;

Loader::Epoch::Iterator Loader::Epoch::begin() {
  advance();
  return Iterator(this);
}

void Loader::Epoch::advance() {
  current_ = {};  // before waiting: the consumer's batch may go back to the allocator
  current_ = producer_->pop();
}

}  // namespace mininn::data
