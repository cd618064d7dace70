// How every benchmark here measures: candidates take turns in one run, so that a drifting clock or a busy neighbour
// hits all of them alike, and what is reported is the median beside the minimum, the 10th and the 90th percentile.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <vector>

#include "core/stopwatch.h"

namespace mininn::bench {

struct Timing {  // seconds per call
  double median = 0, least = 0, p10 = 0, p90 = 0;
  size_t calls = 0;
};

inline Timing timing(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  const auto at = [&](double share) { return seconds[size_t(share * double(seconds.size() - 1) + 0.5)]; };
  return {at(0.5), seconds.front(), at(0.1), at(0.9), seconds.size()};
}

// Times `candidates` in turn until each has had `budget` seconds, at least 5 and at most 1000 turns. Two calls of each
// before that count for nothing. A turn is one call; or, with `turn` > 0, calls for so many seconds after one that does
// not count, because it finds the caches as the candidate before has left them.
inline std::vector<Timing> interleave(const std::vector<std::function<void()>>& candidates, double budget,
                                      double turn = 0) {
  std::vector<std::vector<double>> seconds(candidates.size());
  for (int warm_up = 0; warm_up < 2; ++warm_up)
    for (const auto& run : candidates) run();
  const Stopwatch all;
  for (int round = 0; round < 1000 && (round < 5 || all.seconds() < budget * double(candidates.size())); ++round)
    for (size_t i = 0; i < candidates.size(); ++i) {
      if (turn > 0) candidates[i]();
      const Stopwatch this_turn;
      do {
        const Stopwatch call;
        candidates[i]();
        seconds[i].push_back(call.seconds());
      } while (this_turn.seconds() < turn);
    }
  std::vector<Timing> out;
  for (auto& s : seconds) out.push_back(timing(std::move(s)));
  return out;
}

}  // namespace mininn::bench
