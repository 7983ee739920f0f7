// The seam between queues and batches: a policy is asked, whenever an instance is idle, which requests it should run next.
//
// Single-threaded, no I/O, no clock: time is an argument, in nanoseconds of the monotonic clock. Requests are the engine's; a policy
// links them into its queues and unlinks them, and never owns them. Whatever a policy refuses or gives up it puts into `dropped`,
// unlinked, and the engine answers it.
//
//              add ──> queued ──next_batch──> executing ──batch_over──> (sequences: the next step may run)
//               │        │ ^                     │
//            dropped <───┘ └──────requeue────────┘
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace pyserver::sched {

struct Sequence;

// What a policy may know of a request.
struct Request {
  uint32_t batch_size = 1;  // rows; 0 counts as 1 against limits
  uint8_t flags =
      0;  // shm::kSequenceStart, kSequenceEnd; a policy for iterative sequences may change them
  bool queued = false;      // written by the policy only
  bool delayed = false;     // the policy's: timed out under action DELAY
  bool begun = false;       // part of something that is under way: taken even after stop()
  uint64_t signature = 0;   // only equal signatures may share a batch
  uint64_t enqueue_ns = 0;  // written by the policy
  uint64_t timeout_us = 0;  // the request's own; 0: none
  uint64_t priority = 0;    // 0: the model's default level
  uint64_t payload_bytes = 0;
  uint64_t correlation_id = 0;  // of a model with sequences; 0 and no text: none
  std::string correlation_text;
  // The policy's own, while the request is queued or executing:
  uint64_t expires_ns = 0;
  uint64_t level = 0;
  Sequence* sequence = nullptr;
  Request* next = nullptr;
  Request* previous = nullptr;

  uint32_t rows() const { return batch_size == 0 ? 1 : batch_size; }
};

// First in, first out, by the links in the requests; removal from the middle costs nothing.
class Fifo {
 public:
  void push_back(Request* request);
  void remove(Request* request);
  Request* front() const { return front_; }
  size_t size() const { return size_; }

 private:
  Request* front_ = nullptr;
  Request* back_ = nullptr;
  size_t size_ = 0;
};

inline constexpr uint64_t kNever = UINT64_MAX;

// `now_ns` and `us` later; a config may name any number, and what lies beyond the clock is never.
constexpr uint64_t after_us(uint64_t now_ns, uint64_t us) {
  return us > (kNever - now_ns) / 1000 ? kNever : now_ns + us * 1000;
}

// The engine's peer number of an instance.
using InstanceId = uint32_t;

// One place in a batch. Sequences have a slot in their instance, where their state lives; a slot that is used again gets a new
// generation, so that no step of one sequence can meet another's state.
struct Member {
  Request* request =
      nullptr;  // nullptr: the slot has nothing to run, and is filled with a null request
  uint32_t slot = 0;
  uint32_t generation = 0;  // 0: not a sequence
};

// A request that the policy gives up, and what its client is told.
struct Dropped {
  Request* request = nullptr;
  base::Code code = base::Code::kUnavailable;
  std::string message;
  bool prefixed = true;  // Triton puts "[request id: ...] " before the message
};

// Triton's ModelQueuePolicy.
struct QueuePolicy {
  bool delay = false;  // what becomes of a request whose time is over: DELAY, else REJECT
  uint64_t default_timeout_us = 0;
  bool allow_timeout_override = false;
  uint64_t max_queue_size = 0;  // requests; 0: no limit of the model's own
};

struct PolicySettings {
  std::string model = {};                            // for texts
  uint32_t max_batch_size = 0;                       // 0: the model does not batch
  std::vector<uint32_t> preferred_batch_sizes = {};  // empty: max_batch_size
  uint64_t max_queue_delay_us = 0;
  uint64_t priority_levels = 0;
  uint64_t default_priority_level = 0;
  QueuePolicy default_queue = {};
  std::map<uint64_t, QueuePolicy> level_queues = {};
  // Sequences:
  uint64_t max_sequence_idle_us = 1'000'000;
  uint32_t max_candidate_sequences = 0;   // oldest; 0: as many as the batch has rows
  double minimum_slot_utilization = 0.0;  // direct
  bool iterative = false;
  // TRITONSERVER_DELAY_SCHEDULER, TRITONSERVER_BACKLOG_DELAY_SCHEDULER: nothing is scheduled before so many requests are queued
  // (sequences: wait in the backlog); once.
  uint64_t delay_scheduler = 0;
  uint64_t backlog_delay_scheduler = 0;
};

class Policy {
 public:
  virtual ~Policy() = default;

  // Sequences live in instances; other policies need not know them. What can no longer run is dropped.
  virtual void add_instance(InstanceId /*instance*/, uint64_t /*now_ns*/) {}
  virtual void remove_instance(InstanceId /*instance*/, uint64_t /*now_ns*/,
                               std::vector<Dropped>* /*dropped*/) {}

  // Queues the request, or drops it.
  virtual void add(Request* request, uint64_t now_ns, std::vector<Dropped>* dropped) = 0;
  // Forgets a queued request: it was cancelled, its client left, or the model ends. What goes with it (the rest of its sequence) is
  // dropped; the request itself is the caller's to answer.
  virtual void remove(Request* request, uint64_t now_ns, std::vector<Dropped>* dropped) = 0;
  // Takes a request that an instance gave back unanswered, to run it once more (iterative sequences).
  virtual void requeue(Request* request, uint64_t now_ns, std::vector<Dropped>* dropped);
  // Fills `batch` with what the idle instance should run now, and unlinks it; empty: not yet.
  virtual void next_batch(InstanceId idle, uint64_t now_ns, std::vector<Member>* batch) = 0;
  // The instance has executed the batch. The members' requests may be gone: they must not be looked at.
  virtual void batch_over(InstanceId /*instance*/, std::span<const Member> /*members*/,
                          uint64_t /*now_ns*/) {}
  // Drops what has waited too long, and whole sequences that nobody goes on with. Called before batches are formed.
  virtual void drop_expired(uint64_t /*now_ns*/, std::vector<Dropped>* /*dropped*/) {}
  // When next_batch() may say more for an idle instance even if nothing arrives; kNever: no need to ask. After next_batch(now) it
  // lies after `now`; a policy that binds instances leaves out those that execute.
  virtual uint64_t wake_ns() const = 0;
  // When drop_expired() has something to do; after drop_expired(now) it lies after `now`.
  virtual uint64_t expiry_ns() const { return kNever; }
  virtual size_t queued() const = 0;
  // Any queued request, or nullptr; for emptying the queue.
  virtual Request* any() const = 0;
  // A batch for one idle instance says nothing about the others: each is asked.
  virtual bool binds_instances() const { return false; }
  virtual size_t live_sequences() const { return 0; }
  // The server is stopping: nothing new is taken, but sequences that run may be finished.
  void stop() { stopping_ = true; }
  // Whether the request comes after that; then it was dropped.
  bool too_late(Request* request, std::vector<Dropped>* dropped) const;

 private:
  bool stopping_ = false;
};

std::unique_ptr<Policy> make_direct(const PolicySettings& settings);
std::unique_ptr<Policy> make_dynamic(const PolicySettings& settings);
std::unique_ptr<Policy> make_sequence_direct(const PolicySettings& settings);
std::unique_ptr<Policy> make_sequence_oldest(const PolicySettings& settings);

using MakePolicy = std::unique_ptr<Policy> (*)(const PolicySettings&);

// The registry; the contract test runs over it.
struct PolicyRow {
  const char* name;
  MakePolicy make;
};
inline constexpr PolicyRow kPolicies[] = {{"direct", make_direct},
                                          {"dynamic", make_dynamic},
                                          {"sequence_direct", make_sequence_direct},
                                          {"sequence_oldest", make_sequence_oldest}};

}  // namespace pyserver::sched
