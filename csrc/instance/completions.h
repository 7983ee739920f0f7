// Where an event loop hears which of its calls have something new: the descriptor is readable then, or when somebody has to read core's
// ring for it (Executor::heard).
//
// Thread safety: add() comes from whoever reads the ring; everything else is done with the executor's read lock held, but for fd() and
// awaited().
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/fd.h"
#include "base/status.h"

namespace pyserver::instance {

class Completions {
 public:
  static base::Status make(std::shared_ptr<Completions>* completions);
  // An epoll of its own bell, of core's doorbell while that is watched, and of a timer.
  int fd() const { return waiter_.get(); }

  void add(uint64_t ticket);
  // Calls of this loop that are outstanding.
  size_t awaited() const { return awaited_.load(std::memory_order_acquire); }
  void expect() { awaited_.fetch_add(1, std::memory_order_acq_rel); }
  void settle() { awaited_.fetch_sub(1, std::memory_order_acq_rel); }

  // While the loop's own thread reads, nothing rings for it.
  void attend(bool attended);
  // Whether take() would give something.
  bool any();
  // Tickets in the order in which they came.
  std::vector<uint64_t> take();
  // The descriptor is not readable any more, unless something has come.
  void quieten();

  // The next ring of this doorbell makes the descriptor readable; `soon`: so does a millisecond, whoever rings.
  void watch(int bell, bool soon);
  bool watching() const { return watching_; }
  // Before it sleeps, the loop always looks on (Executor::look_on).
  bool looks_on() const { return looks_on_; }
  void will_look_on() { looks_on_ = true; }

 private:
  base::UniqueFd waiter_;
  base::UniqueFd own_bell_;
  base::UniqueFd timer_;
  std::atomic<size_t> awaited_ = 0;
  int watched_bell_ = -1;
  bool watching_ = false;
  bool looks_on_ = false;
  std::mutex mutex_;
  std::vector<uint64_t> tickets_;
  bool attended_ = false;
  bool rung_ = false;
};

}  // namespace pyserver::instance
