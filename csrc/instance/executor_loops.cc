// Reading for event loops, which sleep where their other descriptors are: nobody may be there to read for them.
//
// Whoever leaves the ring without a reader declares a sleep on it, in the name of all loops whose calls are outstanding: the next ring
// wakes them, and the first one there reads. Core's bell is quieted before, which is safe only while nobody sleeps on it; hence never
// while somebody reads.
#include <sched.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "instance/executor.h"

namespace pyserver::instance {

base::Status Executor::call(CallRequest request, std::shared_ptr<Completions> completions,
                            CallRef* call) {
  const std::shared_ptr<Completions> loop = completions;
  base::Status status = calls_->submit(std::move(request), std::move(completions), call);
  if (!status.ok() || loop == nullptr) return status;
  const std::lock_guard lock(read_mutex_);
  if (std::find(loops_.begin(), loops_.end(), loop) == loops_.end()) loops_.push_back(loop);
  if (!loop->looks_on() && !(rings_for_loops_ && loop->watching())) watch_for_loops();
  return status;
}

std::vector<uint64_t> Executor::heard(Completions& loop) {
  const std::lock_guard lock(read_mutex_);
  loop.quieten();
  if (!reading_) {
    const uint64_t now = base::monotonic_ns();
    if (link_->backlog() > 0) link_->flush();
    const bool slept = rings_for_loops_;
    stop_ringing(now);
    loop.attend(true);
    take_records();
    if (slept && loop.any()) spin_wait_.found(now);
    watch_unless_it_looks_on(loop);
    loop.attend(false);
  }
  return loop.take();
}

bool Executor::look_on(Completions& loop, int loop_fd, uint64_t timeout_ns) {
  if (loop.awaited() == 0 && !loop.any()) return false;
  std::unique_lock lock(read_mutex_);
  loop.will_look_on();
  if (reading_ || ending_) return false;
  uint64_t now = base::monotonic_ns();
  const uint64_t deadline = timeout_ns > kForever - now ? kForever : now + timeout_ns;
  stop_ringing(now);
  reading_ = true;
  loop.attend(true);
  bool found = false;
  while (true) {
    take_records();
    found = loop.any();
    if (found || link_->channel().broken() || now >= deadline) break;
    if (!spin_wait_.look_again(now, true)) break;
    lock.unlock();
    ::sched_yield();
    epoll_event event;
    const bool others = ::epoll_wait(loop_fd, &event, 1, 0) != 0;
    lock.lock();
    if (others) break;
    now = base::monotonic_ns();
  }
  reading_ = false;
  if (waiting_ > 0) turn_.notify_all();
  if (found) spin_wait_.found(now);
  found ? watch_unless_it_looks_on(loop) : watch_for_loops();
  found = loop.any();
  loop.attend(false);
  return found;
}

// A loop that has something to do looks on again before it sleeps; the others may be asleep.
void Executor::watch_unless_it_looks_on(const Completions& loop) {
  if (!loop.looks_on() || calls_->awaited() > loop.awaited()) watch_for_loops();
}

void Executor::watch_for_loops() {
  if (reading_ || waiting_ > 0 || ending_ || calls_->awaited() == 0) return;
  std::erase_if(loops_, [](const auto& loop) { return loop.use_count() == 1; });
  shm::ChannelEnd& channel = link_->channel();
  while (calls_->awaited() > 0 && !channel.broken()) {
    uint64_t rings = 0;
    [[maybe_unused]] const ssize_t taken = ::read(channel.bell(), &rings, sizeof rings);
    const bool stuck = link_->backlog() > 0;
    for (const std::shared_ptr<Completions>& loop : loops_) {
      if (loop->awaited() > 0) loop->watch(channel.bell(), stuck);
    }
    asleep_ns_ = base::monotonic_ns();
    rings_for_loops_ = channel.sleep();
    if (rings_for_loops_) return;
    channel.wake();
    take_records();
  }
}

void Executor::stop_ringing(uint64_t now_ns) {
  if (!std::exchange(rings_for_loops_, false)) return;
  spin_wait_.woken_after(link_->channel().wake(asleep_ns_, now_ns));
}

void Executor::end_calls() {
  const std::lock_guard lock(read_mutex_);
  ending_ = true;
  loops_.clear();
}

}  // namespace pyserver::instance
