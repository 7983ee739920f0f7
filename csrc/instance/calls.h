// The submitting half of an instance: what a model asks of other models while it executes (business logic scripting).
//
//   submit ──> Submit ──> core ──> Reply, Released ──> Call: its answers wait here until they are taken
//
// A request's tensors go by reference where they lie in shared memory already: inputs of the request that is being executed, outputs
// of an earlier answer. CallMemory holds all of that until nobody reads the request any more and no answer is left that may refer to
// it. An answer's own memory goes back to whoever made it with the last reference to the Answer.
//
// Thread safety: all of it may be used from any thread. Core's words are passed on by whoever reads the ring (Executor).
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/datatype.h"
#include "base/status.h"
#include "instance/completions.h"
#include "instance/link.h"
#include "instance/memory.h"
#include "instance/request.h"
#include "model/spec.h"
#include "shm/layout.h"
#include "shm/peer.h"
#include "shm/table.h"

namespace pyserver::instance {

class Answer;
using AnswerRef = std::shared_ptr<const Answer>;

// What a call's request refers to.
struct CallMemory {
  std::vector<BufferRef> buffers;            // in the own region, the table too
  std::vector<std::unique_ptr<Hold>> holds;  // of requests that are being executed
  std::vector<AnswerRef> answers;
};

struct CallInput {
  std::string name;
  base::Datatype datatype = base::Datatype::kInvalid;
  std::vector<int64_t> shape;
  std::span<const uint8_t> bytes;  // what is at `location`
  shm::Location location;
};

// A call before it is made.
struct CallRequest {
  std::shared_ptr<const model::ModelSpec> model;
  std::string request_id;
  uint64_t correlation_id = 0;
  std::string correlation_text;
  uint8_t flags = 0;  // shm::kSequenceStart, kSequenceEnd
  uint64_t timeout_us = 0;
  uint64_t parent = 0;  // the batch in whose execution it is made; 0: none waits for it
  std::vector<CallInput> inputs;
  std::vector<std::string> outputs;  // empty: all
  std::vector<shm::Parameter> parameters;
  std::shared_ptr<CallMemory> memory = std::make_shared<CallMemory>();
};

struct AnswerOutput {
  std::string_view name;
  base::Datatype datatype = base::Datatype::kInvalid;
  std::vector<int64_t> shape;
  std::span<const uint8_t> bytes;
  shm::Location location;
};

// One response to a call, or the error in its place; an empty one stands for a last response that carries nothing.
class Answer {
 public:
  Answer() = default;
  explicit Answer(base::Status status) : status_(std::move(status)) {}
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;
  ~Answer();

  const base::Status& status() const { return status_; }
  std::span<const AnswerOutput> outputs() const { return outputs_; }
  const shm::ResponseView& table() const { return table_; }

 private:
  friend class Calls;
  base::Status read(const shm::Reply& reply, const shm::PeerRegions& regions,
                    const model::ModelSpec& model);
  // The bytes at a place, whose region stays mapped from now on; nothing where there is no such.
  std::optional<std::span<const uint8_t>> find(uint32_t peer, uint64_t offset, uint64_t byte_size,
                                               const shm::PeerRegions& regions);

  base::Status status_;
  shm::ResponseView table_;
  std::vector<AnswerOutput> outputs_;
  std::vector<std::pair<uint32_t, shm::RegionRef>> regions_;
  std::shared_ptr<Link> link_;
  uint64_t lease_ = 0;
  std::shared_ptr<CallMemory> request_;  // an answer may refer to its request's tensors
};

// A call that was made. Its holder takes the answers; without a holder they go back at once.
class Call {
 public:
  uint64_t ticket() const { return ticket_; }
  // take() would give something, or nothing will come any more.
  bool ready() const { return ready_.load(std::memory_order_acquire); }
  // The next answer; null: none is there, and if over() none will be.
  AnswerRef take();
  bool over() const;

 private:
  friend class Calls;
  mutable std::mutex mutex_;
  uint64_t ticket_ = 0;
  std::shared_ptr<const model::ModelSpec> model_;
  std::shared_ptr<CallMemory> memory_;
  std::shared_ptr<Completions> completions_;
  std::deque<AnswerRef> arrived_;
  std::atomic<bool> ready_ = false;
  bool final_ = false;
  bool released_ = false;
  bool dropped_ = false;  // nobody takes answers any more
};

using CallRef = std::shared_ptr<Call>;

class Calls {
 public:
  Calls(std::shared_ptr<Link> link, std::shared_ptr<const shm::PeerRegions> regions)
      : link_(std::move(link)), regions_(std::move(regions)) {}

  // Checks the request as a frontend would, with the same texts, and sends it. It never waits.
  base::Status submit(CallRequest request, std::shared_ptr<Completions> completions, CallRef* call);
  void cancel(const Call& call);
  void drop(Call& call);

  // Core's words.
  void replied(const shm::Reply& reply);
  void released(uint64_t ticket);

  // Calls whose memory is not free yet, for leak tests; and how many bytes were copied for calls.
  size_t count() const;
  uint64_t copied_bytes() const { return copied_bytes_.load(std::memory_order_relaxed); }
  void count_copy(uint64_t byte_size) {
    copied_bytes_.fetch_add(byte_size, std::memory_order_relaxed);
  }
  // How many calls are outstanding that event loops wait for.
  size_t awaited() const { return awaited_.load(std::memory_order_acquire); }

  const std::shared_ptr<Link>& link() const { return link_; }

 private:
  base::Status make_table(const CallRequest& request, shm::Submit* record);
  CallRef find(uint64_t ticket);
  void forget_if_over(const CallRef& call);

  const std::shared_ptr<Link> link_;
  const std::shared_ptr<const shm::PeerRegions> regions_;
  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, CallRef> calls_;  // by ticket
  uint64_t last_ticket_ = 0;
  std::atomic<uint64_t> copied_bytes_ = 0;
  std::atomic<size_t> awaited_ = 0;
};

}  // namespace pyserver::instance
