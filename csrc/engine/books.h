// What the engine keeps books of: requests, batches, leases, peers and models. All of it belongs to the engine's thread.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/ensemble.h"
#include "engine/rate_limiter.h"
#include "engine/response_cache.h"
#include "engine/statistics.h"
#include "engine/warm_up.h"
#include "sched/policy.h"
#include "shm/channel.h"
#include "shm/layout.h"
#include "shm/region.h"

namespace pyserver::engine {

struct Model;
struct Peer;
struct Batch;

// A response, or an error, as it goes out; with preserve_ordering it waits until those of earlier requests have.
struct Answer {
  Peer* from = nullptr;  // nullptr: core itself, with one of the two below
  shm::Response record;
  std::string message;
  CachedResponse* cached = nullptr;  // pinned
};

// What a request is to the response cache.
enum class CacheRole : uint8_t {
  kNone,
  kLeader,    // the first of its key: its answer is for all that wait for it
  kFollower,  // waits for a leader
  kAlone,     // is executed for itself, and its answer kept
};

struct Request : sched::Request {
  uint64_t ticket = 0;  // ours: generation << 32 | slot
  uint64_t submitter_ticket = 0;
  uint64_t table_offset = 0;
  uint32_t table_bytes = 0;
  bool live = false;
  bool answered = false;        // its final response is here
  bool delivered = false;       // and went out
  bool cancelled = false;       // while it was executing
  bool null_request = false;    // fills the slot of a sequence that has nothing to run
  bool let_go = false;          // its instance no longer reads the request's memory
  bool released = false;        // nobody does: null requests in its likeness neither
  uint32_t null_requests = 0;   // those that still read it
  Request* likeness = nullptr;  // of a null request: whose table it shows
  Peer* submitter = nullptr;    // nullptr: it died, or left; or nobody asked (null requests)
  Peer* instance = nullptr;     // while executing
  Model* model = nullptr;
  Batch* batch = nullptr;
  uint32_t batch_index = 0;    // in batch->requests
  uint64_t parent = 0;         // of an instance's call: its batch that waits for this one; 0: none
  bool has_responded = false;  // somebody has seen a response
  bool tried_again = false;
  uint32_t responses = 0;  // counted, of a decoupled model
  uint64_t last_response_ns = 0;
  Request* peer_next = nullptr;  // among the submitter's requests
  Request* peer_previous = nullptr;
  Request* order_next = nullptr;  // among the model's, in order of arrival (preserve_ordering)
  Request* order_previous = nullptr;
  std::vector<Answer> held;
  CacheKey cache_key;
  CacheRole cache_role = CacheRole::kNone;
  uint64_t models_epoch = 0;     // of an ensemble's request: when it began
  bool waits_for_cache = false;  // and is neither queued nor executing
  // Ensembles: a step's request lies in core's own region and has no submitter, but a run that waits for it.
  Run* run = nullptr;
  std::unique_ptr<Run> led;  // of an ensemble's request
  bool own_table = false;
  WarmUpRun* warm_up = nullptr;    // of a sample's request: it has no submitter either
  uint16_t max_unread = 0;         // of its responses; 0: as many as its instance allows
  std::vector<SourceRef> sources;  // whose memory it reads, of a step, or of a dead instance's call
};

struct Batch {
  uint64_t id = 0;
  Model* model = nullptr;
  Peer* instance = nullptr;
  uint32_t open = 0;  // requests not yet answered
  bool done = false;  // execute returned
  bool closed =
      false;  // done and all answered: counted in the statistics; lives on for requests not yet released
  uint64_t dispatched_ns = 0;
  std::vector<Request*> requests;        // those not gone yet
  std::vector<sched::Member> sequences;  // for the policy, when it binds instances
  FinishedBatch figures;
  std::unique_ptr<WarmUpRun> warm_up;  // it is a sample's: counted nowhere
};

struct Lease {
  Peer* owner = nullptr;  // nullptr: core itself, or the owner died
  bool core_owned = false;
  Peer* holder = nullptr;
  uint64_t cookie = 0;
  uint32_t generation = 0;
  uint32_t next = 0;  // in the holder's list, or the free list
  uint32_t previous = 0;
  CachedResponse* cached = nullptr;
  std::vector<SourceRef> sources;  // what an ensemble's response refers to
};

// Requests of one key that are in progress.
struct Flight {
  uint64_t leader = 0;  // tickets
  std::vector<uint64_t> followers;
};

// Whether models are in use, and when they last were, by handle: requests in the queue, batches or runs, and sequences that live;
// monotonic ns.
using Usage = std::unordered_map<uint32_t, std::pair<uint64_t, uint64_t>>;

enum class PeerKind : uint8_t { kFrontend, kInstance, kControl };

struct Peer {
  uint32_t id = 0;
  PeerKind kind = PeerKind::kFrontend;
  shm::ChannelEnd channel;
  shm::Mapping region;
  Request* requests = nullptr;  // what it submitted
  uint32_t leases = 0;          // first lease that it holds; 0: none
  Model* model = nullptr;       // of an instance
  std::unordered_map<uint64_t, std::unique_ptr<Batch>> batches;  // of an instance, by id
  size_t executing = 0;             // batches whose execute has not returned
  uint64_t executing_since_ns = 0;  // the first of them, if there are any
  size_t unclosed = 0;              // batches that still owe an answer
  Seat* seat = nullptr;             // of an instance, while turns are limited
  bool leaving = false;             // no new batches
  bool dirty = false;               // something to flush
  bool broken = false;              // it wrote nonsense; reported once
};

struct ModelSettings {
  std::string name;
  int64_t version = 1;
  std::string policy = "direct";
  sched::PolicySettings queue = {};
  bool preserve_ordering = false;
  bool decoupled = false;
  bool cache = false;             // its answers go into the response cache
  bool idempotent = false;        // what a dying instance was executing is executed once more
  uint64_t execute_limit_ns = 0;  // 0: none
  std::optional<EnsemblePlan> ensemble = {};
  std::vector<InstanceLimits> instances = {};  // read only while turns are limited
  // Whatever the model's config says, a queue has an end.
  uint64_t max_queued_requests = 1 << 18;
  uint64_t max_queued_bytes = uint64_t{16} << 30;
};

struct Model {
  uint32_t handle = 0;
  ModelSettings settings;
  std::unique_ptr<sched::Policy> policy;  // of an ensemble: always empty
  std::unique_ptr<Ensemble> ensemble;
  std::vector<Peer*> instances;
  ModelStatistics statistics;
  uint64_t execution_ns = 0;       // moving average of what a batch takes in its instance
  uint64_t running = 0;            // batches not yet closed; runs of an ensemble
  uint64_t waiting_for_cache = 0;  // requests
  uint64_t queued_bytes = 0;
  Request* order_first = nullptr;  // preserve_ordering: those whose answers are not complete
  Request* order_last = nullptr;
  uint64_t last_use_ns = 0;  // a request came, or a batch was over
  bool accepting = true;
  bool drained = false;          // reported once
  bool queue_is_direct = false;  // each request is a batch: running ahead costs no batch its size
  bool calls = false;  // its instances have called other models: one may have to wait for another
  bool dirty = false;  // waits in the list for dispatch
  uint64_t wake_ns = sched::kNever;
};

}  // namespace pyserver::engine
