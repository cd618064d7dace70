#include "examples/cifar_resnet/live_feed.h"

#include <algorithm>
#include <map>
#include <thread>

#include "tests/support/catch.h"

using cifar_resnet::LiveFeed;

namespace {

// Until a reader who begins behind `id` has seen all.
std::vector<std::string> everything(const LiveFeed& feed, int64_t id = 0) {
  std::vector<std::string> out;
  for (LiveFeed::Messages some; !(some = feed.after(id)).empty(); id = some.back()->id)
    for (const auto& m : some) out.push_back(m->kind + ' ' + m->data);
  return out;
}

}  // namespace

TEST_CASE("a late reader gets the history, without what is outdated") {
  LiveFeed feed;
  feed.publish("run", "a");
  feed.publish("progress", "1", LiveFeed::Keep::newest);
  feed.publish("step", "1");
  feed.publish("progress", "2", LiveFeed::Keep::newest);
  feed.publish("step", "2");
  feed.close();
  CHECK(everything(feed) == std::vector<std::string>{"run a", "step 1", "progress 2", "step 2"});
  CHECK(everything(feed, 3) == std::vector<std::string>{"progress 2", "step 2"});
}

TEST_CASE("a long history is thinned out and keeps its beginning and its end") {
  LiveFeed feed;
  const size_t n = 3 * LiveFeed::kMostKept;
  feed.publish("run", "a");
  for (size_t i = 0; i < n; ++i) feed.publish("step", std::to_string(i));
  feed.close();
  const auto kept = everything(feed);
  CHECK(kept.size() <= LiveFeed::kMostKept);
  CHECK(kept.size() >= LiveFeed::kMostKept / 2);
  CHECK(kept.front() == "run a");
  CHECK(kept.back() == "step " + std::to_string(n - 1));
}

TEST_CASE("thinning out takes from the most frequent kind, and every kind keeps its end") {
  LiveFeed feed;
  const size_t n = 3 * LiveFeed::kMostKept;
  feed.publish("run", "a");
  for (size_t i = 0; i < 10; ++i) feed.publish("rare", std::to_string(i));
  for (size_t i = 0; i < n; ++i) {
    feed.publish("step", std::to_string(i));
    feed.publish("epoch", std::to_string(i));
  }
  feed.close();
  std::map<std::string, size_t> counts;
  const auto kept = everything(feed);
  for (const std::string& m : kept) ++counts[m.substr(0, m.find(' '))];
  CHECK(kept.size() <= LiveFeed::kMostKept);
  CHECK(counts["run"] == 1);
  CHECK(counts["rare"] == 10);
  for (const std::string kind : {"step", "epoch"}) {
    CHECK(counts[kind] >= LiveFeed::kMostKept / 8);
    CHECK(std::find(kept.begin(), kept.end(), kind + ' ' + std::to_string(n - 1)) != kept.end());
  }
}

TEST_CASE("readers wait for messages and see each once, in order") {
  LiveFeed feed;
  constexpr int kMessages = 2000;
  std::vector<std::string> seen[3];
  std::vector<std::thread> readers;
  for (auto& mine : seen)
    readers.emplace_back([&mine, &feed] {
      int64_t id = 0;
      for (bool closed = false; !closed;) {
        closed = feed.closed();
        for (LiveFeed::Messages some; !(some = feed.after(id)).empty(); id = some.back()->id)
          for (const auto& m : some) mine.push_back(m->data);
      }
    });
  std::vector<std::string> expected;
  for (int i = 0; i < kMessages; ++i) {
    expected.push_back(std::to_string(i));
    feed.publish("step", expected.back());
  }
  feed.close();
  for (std::thread& t : readers) t.join();
  for (const auto& mine : seen) CHECK(mine == expected);
}

TEST_CASE("things are replaced, and stay for those who have them") {
  LiveFeed feed;
  CHECK(feed.get("images") == nullptr);
  feed.put("images", "old");
  const auto old = feed.get("images");
  feed.put("images", "new");
  CHECK(*old == "old");
  CHECK(*feed.get("images") == "new");
}
