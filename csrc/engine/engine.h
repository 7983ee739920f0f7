// The engine: takes records from the peers' rings, lets policies form batches, sends batches to instances and replies to submitters.
//
// It does no waiting and reads no clock: Runner calls poll() and dispatch() with the time, and tests do so by hand. It never reads a
// tensor's bytes, but to copy answers into the response cache and to hash an ensemble's steps for it. It alone knows who holds what of
// whose memory (leases), so that a peer's death gives everything back.
//
//   Submit ──> policy ──> BatchHead + Execute ──> instance ──> Response ──> Reply ──> submitter
//                                                    ^                        │ lease
//                                                    └──── Returned <── Return┘
//
// Life of a request:   queued ──> executing ──(final response)──> answered ──(delivered, released)──> gone
//                        └─(refused, cancelled)─> gone              either order
//
// Thread safety: all of it belongs to one thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <queue>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "engine/books.h"
#include "engine/ensemble.h"
#include "engine/rate_limiter.h"
#include "engine/response_cache.h"
#include "engine/statistics.h"
#include "engine/warm_up.h"
#include "model/catalog.h"
#include "sched/policy.h"
#include "shm/allocator.h"
#include "shm/channel.h"
#include "shm/layout.h"
#include "shm/region.h"
#include "shm/table.h"

namespace pyserver::engine {

// What the control plane wants to hear.
struct Event {
  enum class Kind : uint8_t {
    kIdle,
    kBroken,
    kDrained,
    kCacheAsk,
    kCacheKeep,
    kWarmedUp,
    kQuiet,
  } kind;
  uint32_t id;          // peer, or handle of the model; of kQuiet 0
  std::string message;  // of a warm-up: empty when it went well
  CacheKey key = {};
};

struct Counters {
  uint64_t live_requests = 0;
  uint64_t queued_requests = 0;
  uint64_t live_leases = 0;
  uint64_t live_batches = 0;
  uint64_t live_runs = 0;              // requests of ensembles
  uint64_t waiting_for_cache = 0;      // requests
  uint64_t ensemble_copied_bytes = 0;  // of tensors between steps: stays 0
  uint64_t peers = 0;
  uint64_t models = 0;
  uint64_t own_bytes = 0;   // of core's own region
  uint64_t violations = 0;  // records that made no sense
  uint64_t submitted = 0;
  uint64_t refused = 0;
  uint64_t tried_again = 0;  // requests, after their instance died
};

class Engine {
 public:
  // `cache_bytes` of the budget are the response cache's; 0: there is none.
  Engine(shm::Mapping own_region, uint64_t budget_bytes, uint64_t cache_bytes = 0);
  ~Engine();

  // --- the control plane's operations (through Runner) ---
  // Before any model is there: from now on instances execute only in their turn, when their resources are free.
  void limit_rates(std::vector<ResourceLimit> limits);
  Peer* add_peer(uint32_t id, PeerKind kind, shm::ChannelEnd channel, shm::Mapping region);
  // The peer is dead or gone: answers what it was executing with UNAVAILABLE `message`, drops what it had submitted, gives back what it held.
  void retire_peer(uint32_t id, const std::string& message, uint64_t now_ns);
  // What frontends are told of a model (model/catalog.h): ensembles find their steps by it.
  base::Status announce(std::string_view json);
  base::Status add_model(uint32_t handle, const ModelSettings& settings);
  // Takes nothing new; event kDrained when the last batch is over. What is queued still runs.
  void drain_model(uint32_t handle);
  // Whether anybody still waits for an answer of this model: not those who have cancelled, or died.
  bool waited_for(uint32_t handle) const;
  // Answers everything queued with UNAVAILABLE `message`, then as drain_model.
  void abort_model(uint32_t handle, const std::string& message, uint64_t now_ns);
  void remove_model(uint32_t handle);
  // The server is exiting: all models refuse what is new; what is in, and sequences that live, may go on. Event kQuiet when no
  // sequence lives any more.
  void stop_models();
  // `index`: which one it is of the model's `instances`.
  base::Status add_instance(uint32_t handle, uint32_t peer, uint64_t now_ns, size_t index = 0);
  // Memory in core's own region for the tensors of a sample; `writable` may be written from any thread while `memory` lives, which
  // must be given up in the engine's.
  base::Status reserve(uint64_t bytes, SourceRef* memory, std::span<uint8_t>* writable);
  // Sends the sample to an instance that gets no batches yet; event kWarmedUp when all is answered and execute has returned, or when
  // the instance is gone.
  base::Status warm_up(uint32_t handle, uint32_t peer, const WarmUp& sample,
                       const SourceRef& tensors, uint64_t now_ns);
  // No new batches for it; event kIdle when it runs none.
  void remove_instance(uint32_t peer, uint64_t now_ns);
  const Model* find_model(uint32_t handle) const;
  Counters counters() const;
  Usage usage() const;
  ResponseCache::Figures cache_figures() const;
  // Answers are kept elsewhere, too: event kCacheAsk wants cache_answer(), kCacheKeep (the answer as bytes in `message`) wants
  // cache_kept(). Ensembles' are not: what they are made of may change without a trace in their own files.
  void cache_elsewhere() { cache_elsewhere_ = true; }
  // What is known of a key elsewhere; nothing where it is not, or cannot be told.
  void cache_answer(const CacheKey& key, std::optional<std::string_view> bytes, uint64_t now_ns);
  void cache_kept(uint64_t byte_size) { keeping_bytes_ -= std::min(keeping_bytes_, byte_size); }
  // The instances whose execute has taken longer than their model's limit.
  std::vector<uint32_t> overdue(uint64_t now_ns) const;
  // Instances have batches.
  bool executing() const { return counters_.live_batches > 0; }
  std::vector<Event> take_events();

  // --- the loop's operations ---
  // Takes up to `limit` records from the peer's ring; how many there were.
  size_t poll(Peer* peer, size_t limit, uint64_t now_ns);
  // The same for all peers, everything that their rings hold.
  void poll_all(uint64_t now_ns);
  // Forms batches for all models that may have something to do.
  void dispatch(uint64_t now_ns);
  // When dispatch() wants to be called again even if nothing arrives.
  uint64_t wake_ns();
  // Publishes what was sent; rings the sleepers. True: some peer does not read, call again soon.
  bool flush();

  Peer* peer(uint32_t id) const;

 private:
  friend struct Source;
  struct NamedValue {
    std::string name;
    Value value;
  };

  void leave_model(Peer* instance, uint64_t now_ns);
  void leave_seat(Peer* instance);

  // records.cc: what each kind of record does
  void handle(Peer* from, const shm::Record& record, uint64_t now_ns);
  void submit(Peer* from, const shm::Submit& record, uint64_t now_ns);
  void enqueue(Request* request, std::span<const uint8_t> table, uint64_t now_ns);
  void queue(Request* request, std::span<const uint8_t> table, uint64_t now_ns);
  void cancel(Peer* from, const shm::Cancel& record, uint64_t now_ns);
  void give_back(Peer* from, const shm::Return& record);
  void respond(Peer* from, const shm::Response& record, uint64_t now_ns);
  void release(Peer* from, const shm::Release& record, uint64_t now_ns);
  void reschedule(Request* request, uint64_t now_ns);
  void batch_done(Peer* from, const shm::BatchDone& record, uint64_t now_ns);
  void violation(Peer* from, const char* what);

  // requests.cc: making, answering and forgetting requests and batches
  Request* make_request(Peer* submitter);
  Request* find_request(uint64_t ticket);
  void forget_request(Request* request);
  void unlink_submitter(Request* request);
  void finish_if_over(Request* request);
  void answered(Request* request, bool error, uint64_t now_ns);
  void count_answer(Request* request, bool error, uint64_t now_ns);
  void count_response(Request* request, const shm::Response& record, uint64_t now_ns);
  void close_if_over(Batch* batch);
  void erase_if_over(Batch* batch);
  void leave_batch(Request* request);
  void let_go(Request* request);
  void tell_released(Request* request);
  // As in Triton: what is refused at the door is not in the model's statistics.
  enum class Counted : uint8_t { kAsFailure, kNo };
  void refuse(Request* request, base::Code code, const std::string& message, uint64_t now_ns,
              Counted counted = Counted::kAsFailure);
  // Answers what a policy gave up, all that is in dropped_.
  void drop(uint64_t now_ns, Counted counted = Counted::kAsFailure);
  void dequeue(Request* request, uint64_t now_ns);

  // deaths.cc
  // `keeps_memory`: somebody still reads the requests' memory, and a Source of each will say when nobody does.
  void abandon_batch(Batch* batch, const std::string& message, uint64_t now_ns,
                     bool keeps_memory = false);
  bool may_try_again(const Request& request, bool keeps_memory) const;
  void try_again(Request* request, uint64_t now_ns);

  // replies.cc: the one way by which answers leave
  void deliver(Request* request, Answer answer);
  void deliver_error(Request* request, base::Code code, const std::string& message, uint8_t flags);
  void hand_over(Request* request, const Answer& answer);
  void throw_away(const Answer& answer);
  static bool waits_its_turn(const Request& request);
  void enter_order(Request* request);
  void leave_order(Request* request);
  void unlink_order(Request* request);
  void lose_held_replies(Model* model, const Peer* gone, const std::string& message);
  void send_error(Peer* to, uint64_t ticket, base::Code code, const std::string& message,
                  uint8_t flags);
  std::string request_prefix(const Request& request) const;

  // caching.cc
  bool ask_cache(Request* request, std::span<const uint8_t> table);
  void wait_for_cache(Request* request);
  void answer_from_cache(Request* request, CachedResponse* entry, uint64_t lookup_ns);
  void keep_answer(Request* request, std::span<const uint8_t> table);
  void keep_elsewhere(const CachedResponse& entry);
  // Another version of some model serves from now on: ensembles may answer otherwise.
  void models_changed();
  void flight_over(Request* request);
  void leave_flight(Request* request);
  void end_flights_of(Model* model, base::Code code, const std::string& message, uint64_t now_ns);
  std::optional<std::span<const uint8_t>> bytes_in(const shm::TensorEntry& tensor) const;
  std::span<const uint8_t> table_of(const Request& request) const;

  // warm_up.cc
  void warm_up_answered(const Request& request, const Answer& answer);
  void warmed_up(const Batch& batch);

  // ensemble.cc
  void start_run(Request* request, std::span<const uint8_t> table);
  base::Status choose_steps(Run* run);
  static void take_inputs(Run* run);
  static const Value& value_of(const Run& run, uint32_t scope, uint32_t tensor);
  bool can_start(const Run& run, uint32_t scope, uint32_t index) const;
  static Scope& open_scope(Run* run);
  bool is_over(const Run& run, uint32_t scope) const;
  void advance(Run* run);
  void fail_run(Run* run, base::Code code, const std::string& message);
  void cancel_run(Run* run);
  void end_run(Run* run);
  void abandon_step(Model* ensemble, const OpenStep& open);
  void count_run(const Run& run);
  void end_runs_of(Model* model, const std::string& message);
  void source_over(const Source& source);

  // ensemble_steps.cc
  void start_step(Run* run, uint32_t scope, uint32_t index);
  base::Status fill_step(Run* run, uint32_t scope, uint32_t index, const SequenceRef& given,
                         Request* request);
  bool place_table(std::span<const uint8_t> table, uint64_t* offset, uint32_t* bytes);
  void step_answered(Request* request, const Answer& answer);
  std::vector<NamedValue> values_in(const Request& request, uint32_t owner,
                                    const shm::ResponseView& view, const SourceRef& memory) const;
  void take_answer(Request* request, bool final, std::vector<NamedValue>* outputs,
                   const base::Status& status);
  void set_values(Run* run, const OpenStep& open, std::vector<NamedValue>* outputs);

  // ensemble_inflight.cc
  bool waits_for_room(Run* run, uint32_t scope, uint32_t index);
  void wake_waiting(Model* model);
  void wake(const WaitingStep& step, uint32_t index);
  static void stop_waiting(Run* run);
  uint16_t max_unread(const Run& run) const;

  // ensemble_answers.cc
  void answer_scope(Run* run, uint32_t scope);
  void send_run_response(Run* run, bool final, const std::vector<NamedValue>& outputs);
  void answer_run_error(Request* request, uint8_t code, const std::string& message);
  void answer_run_empty(Request* request);

  // calls.cc: what instances submit
  void refuse_circle(uint64_t ticket, uint64_t now_ns);
  std::string circle_of(const Request& call) const;
  std::string circle_behind(const Run& run) const;
  std::vector<SourceRef> read_by_calls(Peer* gone);

  // leases.cc
  SourceRef lease_as_source(uint32_t slot);
  uint64_t make_lease(Peer* owner, Peer* holder, uint64_t cookie);
  void end_lease(uint32_t slot);
  void return_to(Peer* owner, uint64_t cookie);

  // dispatch.cc
  void mark_dirty(Model* model);
  void dispatch_model(Model* model, uint64_t now_ns);
  bool is_idle(const Model& model, const Peer& instance) const;
  Peer* idle_instance(const Model& model) const;
  bool form_batch(Model* model, Peer* instance, uint64_t now_ns);
  void set_timer(Model* model, uint64_t wake_ns);
  void send_batch(Model* model, Peer* instance, uint64_t now_ns);
  void send_execute(Batch* batch, Request* request, const sched::Member& member);
  void check_drained(Model* model);
  void check_quiet();

  // turns.cc: forming batches where turns are limited
  void ask_for_turns(Model* model, uint64_t now_ns);
  void stop_waiting(Model* model);
  void take_turns(uint64_t now_ns);

  void send(Peer* to, const shm::Record& record);

  shm::Mapping own_region_;
  shm::Allocator own_memory_;
  std::vector<std::unique_ptr<Peer>> peers_;  // by id; ids only grow
  std::unordered_map<uint32_t, std::unique_ptr<Model>> models_;
  std::deque<Request> slots_;  // addresses are stable
  std::vector<uint32_t> free_slots_;
  std::vector<Lease> leases_;  // slot 0 is never used
  uint32_t free_lease_ = 0;
  std::vector<Model*> dirty_models_;
  std::vector<Peer*> dirty_peers_;
  std::priority_queue<std::pair<uint64_t, uint32_t>, std::vector<std::pair<uint64_t, uint32_t>>,
                      std::greater<>>
      timers_;                           // (wake_ns, handle); stale entries are skipped
  std::vector<sched::Member> formed_;    // scratch of dispatch
  std::vector<sched::Dropped> dropped_;  // what the policy asked last gave up
  shm::ResponseBuilder error_table_;
  shm::RequestBuilder step_table_;
  model::Catalog catalog_;
  std::optional<ResponseCache> cache_;
  std::unordered_map<CacheKey, Flight, CacheKeyHash> flights_;
  bool cache_elsewhere_ = false;
  uint64_t keeping_bytes_ = 0;  // of answers on their way elsewhere
  uint64_t models_epoch_ = 0;
  std::unique_ptr<RateLimiter> limiter_;  // nullptr: --rate-limit=off
  uint64_t now_ns_ = 0;                   // what the operation that runs was told
  bool stopping_ = false;                 // stop_models() was called
  bool quiet_ = false;                    // since then; told once
  bool ending_ = false;
  std::vector<Event> events_;
  uint64_t next_batch_id_ = 1;
  Counters counters_;
};

}  // namespace pyserver::engine
