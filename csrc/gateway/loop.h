// The epoll loop's core: which descriptors are watched by whom, and who wants to go on without waiting.
//
// Descriptors are registered once, edge-triggered or not as the caller says; nothing is re-armed per request. A watcher may be destroyed
// only between turns (see Gateway::bury), because events of the current turn may still name it.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <vector>

#include "base/fd.h"
#include "base/status.h"

namespace pyserver::gateway {

class Watcher {
 public:
  virtual ~Watcher() = default;
  // `events` are epoll's; 0 for a turn that was asked for by again().
  virtual void on_events(uint32_t events) = 0;

 private:
  friend class Loop;
  bool queued_ = false;
};

class Loop {
 public:
  base::Status open();

  base::Status watch(int fd, uint32_t events, Watcher* watcher);
  void unwatch(int fd);
  // Calls on_events(0) in the next turn, which then does not wait.
  void again(Watcher* watcher);
  // The watcher is about to be destroyed: takes it out of the queue of again().
  void forget(Watcher* watcher);

  // Waits for events (at most `timeout_ms`; -1: for ever) unless somebody wants to go on; how many there are.
  size_t wait(int timeout_ms);
  // Hands the events of the last wait() to their watchers.
  void dispatch();

 private:
  base::UniqueFd epoll_;
  std::array<epoll_event, 256> events_;
  size_t event_count_ = 0;
  std::vector<Watcher*> again_;
  std::vector<Watcher*> running_;  // the queue of the turn before, while it runs
};

}  // namespace pyserver::gateway
