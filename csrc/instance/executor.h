// The receiving half of an instance: batches come out of next_batch(), one at a time, in core's
// order.
//
// next_batch() and done() belong to the instance's thread; everything else may be called from any
// thread. Whoever polls reads what core has sent so far, so that is_cancelled() tells the truth and
// returned memory is free while the instance's thread is busy in execute().
//
// Several threads may wait at once, for a batch or for the answers to calls. One of them reads: it
// looks on, and sleeps on the doorbell. The others are woken by what it takes from the ring, and
// when it leaves, the next one reads. Event loops that wait for calls are woken by the doorbell itself
// when no thread reads (executor_loops.cc).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/spin_wait.h"
#include "base/status.h"
#include "instance/calls.h"
#include "instance/link.h"
#include "instance/request.h"
#include "shm/channel.h"
#include "shm/peer.h"

namespace pyserver::instance {

struct Batch {
  uint64_t id = 0;
  uint32_t batch_size = 0;  // rows of the requests below
  std::vector<RequestRef> requests;
  // On the monotonic clock. The instance sets the middle two; where it does not, done() takes the
  // nearest it has.
  uint64_t start_ns = 0;
  uint64_t input_end_ns = 0;
  uint64_t output_start_ns = 0;
};

enum class Wait : uint8_t { kBatch, kTimeout, kStopped, kBroken };

inline constexpr uint64_t kForever = ~uint64_t{0};

class Executor {
 public:
  // `fds` and `region_fd` stay the caller's. `regions` is the process's table of everybody's
  // regions.
  static base::Status open(const shm::ChannelFds& fds, int region_fd,
                           std::shared_ptr<const shm::PeerRegions> regions, uint64_t budget_bytes,
                           std::unique_ptr<Executor>* executor);

  // Waits for the next batch. Requests that cannot be believed have been answered with an error and
  // are not in it; a batch of only such is never seen. kStopped comes once stop() was called and
  // all batches that core had sent are done.
  Wait next_batch(uint64_t timeout_ns, Batch* batch);
  // Tells core that the batch has been executed and publishes everything that was sent for it.
  // `batch` is empty afterwards.
  void done(Batch* batch);

  // The control tensors that each request gets; before the first batch.
  void set_controls(Controls controls) { controls_ = std::move(controls); }

  void poll();
  // Before another response of a request that has sent some: until its client has taken enough of them, has gone, or we stop. From any
  // thread.
  void wait_for_room(const Request& request);
  void stop();

  // Makes a call. `completions` becomes readable when it has an answer, or when heard() has to be asked whether it has.
  base::Status call(CallRequest request, std::shared_ptr<Completions> completions, CallRef* call);
  // Tickets of the loop's calls that have something new; the loop asks when its descriptor is readable.
  std::vector<uint64_t> heard(Completions& loop);
  // For a loop that is about to sleep on `loop_fd`, an epoll: reads for it as long as that is cheaper than to be woken, at most until
  // one of its descriptors is ready or the time is over. True: heard() has something.
  bool look_on(Completions& loop, int loop_fd, uint64_t timeout_ns);
  // Until the call has something to take, or is over. False: core's ring is broken.
  bool wait_for(const Call& call);
  // No event loop waits for calls any more.
  void end_calls();
  // The batch that this thread executes, or with `any_thread` the one that is being executed; 0: none.
  uint64_t current_batch(bool any_thread) const;

  const std::shared_ptr<Calls>& calls() const { return calls_; }
  const std::shared_ptr<Link>& link() const { return link_; }
  uint32_t peer() const { return link_->memory()->peer(); }

 private:
  struct Arrived {
    shm::BatchHead head;
    std::vector<shm::Execute> requests;
  };

  Executor() = default;
  base::Status make_waiter();
  // Reads until `over` says so (kBatch), or cannot go on. `lock` is on read_mutex_.
  template <typename Over>
  Wait read_until(std::unique_lock<std::mutex>& lock, uint64_t deadline_ns, bool for_batch,
                  const Over& over);
  // With read_mutex_ held:
  // The next ring is for the loops whose calls are outstanding, unless a thread reads.
  void watch_for_loops();
  void watch_unless_it_looks_on(const Completions& loop);
  void stop_ringing(uint64_t now_ns);
  void take_records();
  void take_record(const shm::Record& record);
  bool has_whole_batch() const;
  // Puts the thread to sleep for at most `timeout_ns`; false when there was no need.
  void wait(uint64_t timeout_ns);
  void wait_for_bell();
  bool admit(const Arrived& arrived, Batch* batch);

  std::shared_ptr<Link> link_;
  std::shared_ptr<Calls> calls_;
  std::shared_ptr<const shm::PeerRegions> regions_;
  Controls controls_;
  base::UniqueFd waiter_;  // epoll on the doorbell and on wake_
  base::UniqueFd wake_;
  base::UniqueFd call_waiter_;  // epoll on the doorbell alone
  std::atomic<bool> stopping_ = false;
  bool deaf_ = false;  // nothing can wake us any more
  bool idle_ = false;  // memory was trimmed since the last batch
  base::SpinWait spin_wait_;
  std::mutex read_mutex_;  // taken before the link's lock, never after
  std::deque<Arrived> arrived_;
  std::vector<shm::Execute> spare_;        // storage of the batch before, for the next one
  std::vector<uint64_t> cancelled_early_;  // tickets of requests in arrived_
  std::condition_variable turn_;           // of those who wait while another one reads
  size_t waiting_ = 0;
  bool reading_ = false;  // somebody reads
  std::vector<std::shared_ptr<Completions>> loops_;
  bool rings_for_loops_ = false;  // a sleep is declared in their name
  uint64_t asleep_ns_ = 0;        // since when
  bool ending_ = false;
  std::atomic<uint64_t> current_batch_ = 0;
  std::atomic<std::thread::id> executing_thread_;
};

}  // namespace pyserver::instance
