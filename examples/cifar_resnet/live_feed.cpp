#include "examples/cifar_resnet/live_feed.h"

#include <algorithm>
#include <chrono>

namespace cifar_resnet {

void LiveFeed::publish(std::string kind, std::string data, Keep keep) {
  Message message{0, std::move(kind), std::move(data)};
  {
    const std::lock_guard lock(mutex_);
    message.id = ++last_id_;
    if (keep == Keep::newest) std::erase_if(messages_, [&](const auto& m) { return m->kind == message.kind; });
    if (messages_.size() >= kMostKept) thin_out();
    messages_.push_back(std::make_shared<const Message>(std::move(message)));
  }
  changed_.notify_all();
}

void LiveFeed::thin_out() {
  std::map<std::string, size_t> counts;
  for (const auto& m : messages_) ++counts[m->kind];
  const auto most =
      std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  std::erase_if(messages_, [&](const auto& m) { return m->kind == most->first && most->second-- % 2 == 0; });
}

LiveFeed::Messages LiveFeed::after(int64_t id) const {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::seconds(1), [&] { return closed_ || last_id_ > id; });
  const auto first = std::upper_bound(messages_.begin(), messages_.end(), id,
                                      [](int64_t before, const auto& m) { return before < m->id; });
  const auto last = first + std::min<std::ptrdiff_t>(messages_.end() - first, kMostAtOnce);
  return Messages(first, last);
}

void LiveFeed::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
}

void LiveFeed::put(const std::string& name, std::string bytes) {
  const auto thing = std::make_shared<const std::string>(std::move(bytes));
  const std::lock_guard lock(mutex_);
  things_[name] = thing;
}

std::shared_ptr<const std::string> LiveFeed::get(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto it = things_.find(name);
  return it == things_.end() ? nullptr : it->second;
}

}  // namespace cifar_resnet
