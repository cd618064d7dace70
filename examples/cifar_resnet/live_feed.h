// What one thread publishes about a run and any number of others read, each at its own pace.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace cifar_resnet {

// A log of messages, and things by name, such as images. Nobody holds its lock longer than it takes to add something or
// to copy a few pointers.
class LiveFeed {
 public:
  struct Message {
    int64_t id = 0;  // from 1, rising
    std::string kind, data;
  };
  using Messages = std::vector<std::shared_ptr<const Message>>;

  enum class Keep { all, newest };  // newest: older messages of the kind are of no interest any more
  void publish(std::string kind, std::string data, Keep keep = Keep::all);

  // At most kMostAtOnce messages after `id`, the oldest first; waits for one, but not longer than a second or than
  // until close().
  Messages after(int64_t id) const;

  // No more messages.
  void close();
  bool closed() const { return closed_; }

  void put(const std::string& name, std::string bytes);
  std::shared_ptr<const std::string> get(const std::string& name) const;  // null if there is none

  // How many read the messages now.
  std::atomic<int> readers = 0;

  static constexpr size_t kMostAtOnce = 256;
  // Of more than these, every second one of the most frequent kind goes: curves keep their shape and their end.
  static constexpr size_t kMostKept = 20'000;

 private:
  void thin_out();

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  Messages messages_;
  int64_t last_id_ = 0;
  std::map<std::string, std::shared_ptr<const std::string>> things_;
  std::atomic<bool> closed_ = false;
};

}  // namespace cifar_resnet
