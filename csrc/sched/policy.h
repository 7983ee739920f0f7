// The seam between queues and batches: a policy is asked, whenever an instance is idle, which requests it should run next.
//
// Single-threaded, no I/O, no clock: time is an argument, in nanoseconds of the monotonic clock. Requests are the engine's; a policy
// links them into its queues and unlinks them, and never owns them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/status.h"

namespace pyserver::sched {

// What a policy may know of a request.
struct Request {
  uint32_t batch_size = 1;  // rows; 0 counts as 1 against limits
  uint64_t signature = 0;   // only equal signatures may share a batch
  uint64_t enqueue_ns = 0;
  uint64_t timeout_us = 0;
  uint64_t priority = 0;
  Request* next = nullptr;  // the policy's links while the request is queued
  Request* previous = nullptr;
  bool queued = false;  // written by the policy only

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

struct PolicySettings {
  uint32_t max_batch_size = 0;                  // 0: the model does not batch
  std::vector<uint32_t> preferred_batch_sizes;  // dynamic; empty: max_batch_size
  uint64_t max_queue_delay_us = 0;              // dynamic
  uint64_t max_queue_size = 0;                  // requests; 0: no limit of the model's own
};

class Policy {
 public:
  virtual ~Policy() = default;

  // Queues the request, or says why not.
  virtual base::Status add(Request* request, uint64_t now_ns) = 0;
  // Forgets a queued request (its client left, or the model ends).
  virtual void remove(Request* request) = 0;
  // Fills `batch` with what an idle instance should run now, and unlinks it; empty: not yet.
  virtual void next_batch(uint64_t now_ns, std::vector<Request*>* batch) = 0;
  // Ask again by then even if nothing arrives; kNever: no need to.
  virtual uint64_t wake_ns() const = 0;
  virtual size_t queued() const = 0;
  // Any queued request, or nullptr; for emptying the queue.
  virtual Request* any() const = 0;
};

std::unique_ptr<Policy> make_direct(const PolicySettings& settings);
std::unique_ptr<Policy> make_dynamic(const PolicySettings& settings);

using MakePolicy = std::unique_ptr<Policy> (*)(const PolicySettings&);

// The registry; the contract test runs over it.
struct PolicyRow {
  const char* name;
  MakePolicy make;
};
inline constexpr PolicyRow kPolicies[] = {{"direct", make_direct}, {"dynamic", make_dynamic}};

}  // namespace pyserver::sched
