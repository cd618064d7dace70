// A small least-recently-used cache from a plain key struct to something expensive to make (a oneDNN primitive, a cuDNN
// plan). One per thread and op, so it needs no lock.
#pragma once

#include <cstddef>
#include <cstring>
#include <list>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>

namespace mininn {

// Key is compared by its bytes: it must have no padding (static_assert below) and be zero-initialised.
template <class Key, class Plan>
class PlanCache {
  static_assert(std::has_unique_object_representations_v<Key>, "a plan key must have no padding bytes");

 public:
  explicit PlanCache(size_t capacity = 256) : capacity_(capacity) {}

  // The plan of `key`; `make()` builds it the first time.
  template <class Make>
  Plan& get(const Key& key, Make&& make) {
    const std::string_view bytes(reinterpret_cast<const char*>(&key), sizeof(Key));
    if (const auto it = index_.find(bytes); it != index_.end()) {
      entries_.splice(entries_.begin(), entries_, it->second);
      return entries_.front().second;
    }
    entries_.emplace_front(std::string(bytes), make());
    index_.emplace(entries_.front().first, entries_.begin());
    if (entries_.size() > capacity_) {
      index_.erase(entries_.back().first);
      entries_.pop_back();
    }
    return entries_.front().second;
  }

  size_t size() const { return entries_.size(); }

 private:
  using Entries = std::list<std::pair<std::string, Plan>>;
  size_t capacity_;
  Entries entries_;                                                         // most recent first
  std::unordered_map<std::string_view, typename Entries::iterator> index_;  // keys point into entries_
};

}  // namespace mininn
