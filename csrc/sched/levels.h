// The queues of a dynamic batcher: one for each priority level, each with its own ModelQueuePolicy, seen as one line of requests.
//
//   level 1: waiting, then those whose time is over (DELAY) | level 2: waiting, delayed | ...
#pragma once

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "sched/policy.h"

namespace pyserver::sched {

class Levels {
 public:
  explicit Levels(const PolicySettings& settings);

  // Writes level, enqueue_ns and expires_ns. False: the level's queue is full.
  bool push(Request* request, uint64_t now_ns);
  void remove(Request* request);
  // Of requests whose time is over, those to be refused leave into `dropped`; the others go behind their level's. Whether anything
  // was moved.
  bool expire(uint64_t now_ns, std::vector<Dropped>* dropped);
  // When the next request's time is over.
  uint64_t expiry_ns() const { return expiries_.empty() ? kNever : expiries_.begin()->first; }

  Request* front() const;
  Request* next(const Request* request) const;
  size_t size() const { return size_; }
  // Whether `one` stands before `other` or would, were both put at the end of their lists.
  static bool goes_before(const Request& one, const Request& other) {
    return std::pair(one.level, one.delayed) < std::pair(other.level, other.delayed);
  }

 private:
  struct Level {
    Fifo waiting;
    Fifo delayed;
    const QueuePolicy* policy = nullptr;
    bool empty() const { return waiting.size() + delayed.size() == 0; }
  };

  uint64_t level_of(const Request& request) const;
  Level& level(uint64_t number);

  const uint64_t count_;
  const uint64_t default_level_;
  const QueuePolicy default_policy_;
  const std::map<uint64_t, QueuePolicy> policies_;
  std::map<uint64_t, Level> levels_;  // those that were ever used
  std::set<std::pair<uint64_t, Request*>> expiries_;
  size_t size_ = 0;
};

}  // namespace pyserver::sched
