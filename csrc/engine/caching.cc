// The response cache in a request's life: asked before the request is queued, filled from its answer. Of requests with equal keys that
// are in progress at once only the first is executed; the others wait for its answer.
#include <utility>

#include "base/clock.h"
#include "engine/engine.h"

namespace pyserver::engine {

namespace {

// Of answers that wait to be kept elsewhere; more are not.
constexpr uint64_t kMaxKeepingBytes = uint64_t{64} << 20;

}  // namespace

std::span<const uint8_t> Engine::table_of(const Request& request) const {
  const shm::Mapping& region = request.own_table ? own_region_ : request.submitter->region;
  return {region.data() + request.table_offset, request.table_bytes};
}

std::optional<std::span<const uint8_t>> Engine::bytes_in(const shm::TensorEntry& tensor) const {
  if (tensor.place != shm::Place::kRegion) return std::nullopt;
  const Peer* const owner = peer(tensor.region);
  if (tensor.region != shm::kCorePeer && owner == nullptr) return std::nullopt;
  const shm::Mapping& region = owner != nullptr ? owner->region : own_region_;
  if (!region.contains(tensor.offset, tensor.byte_size)) return std::nullopt;
  return std::span<const uint8_t>(region.data() + tensor.offset, tensor.byte_size);
}

// True: the request needs no execution for now. It is answered, or refused, or waits for another's answer.
bool Engine::ask_cache(Request* request, std::span<const uint8_t> table) {
  Model* const model = request->model;
  if (!cache_ || !model->settings.cache) return false;
  uint64_t key[2];
  shm::read_cache_key(table, key);
  if (key[0] == 0 && key[1] == 0) return false;
  request->cache_key = {model->handle, key[0], key[1]};
  const uint64_t began_ns = base::monotonic_ns();
  CachedResponse* const entry = cache_->find(request->cache_key);
  const uint64_t took_ns = base::monotonic_ns() - began_ns;
  if (entry != nullptr) {
    answer_from_cache(request, entry, took_ns);
    return true;
  }
  const auto [flight, first] = flights_.try_emplace(request->cache_key);
  if (!first) {
    const Request* const leader = find_request(flight->second.leader);
    // Nobody waits for a request that may be overtaken by less urgent ones.
    if (leader != nullptr && (!leader->queued || leader->priority == request->priority)) {
      flight->second.followers.push_back(request->ticket);
      request->cache_role = CacheRole::kFollower;
      wait_for_cache(request);
      return true;
    }
  }
  request->models_epoch = models_epoch_;
  request->cache_role = first ? CacheRole::kLeader : CacheRole::kAlone;
  if (first) flight->second.leader = request->ticket;
  if (first && cache_elsewhere_ && model->ensemble == nullptr) {
    wait_for_cache(request);
    events_.push_back({Event::Kind::kCacheAsk, model->handle, {}, request->cache_key});
    return true;
  }
  model->statistics.cache_miss.add(1, took_ns);
  return false;
}

void Engine::wait_for_cache(Request* request) {
  request->waits_for_cache = true;
  request->begun = true;  // should it be queued after all, it is not new
  ++request->model->waiting_for_cache;
  ++counters_.waiting_for_cache;
  request->model->queued_bytes += request->payload_bytes;
}

void Engine::cache_answer(const CacheKey& key, std::optional<std::string_view> bytes,
                          uint64_t now_ns) {
  now_ns_ = now_ns;
  const auto flight = flights_.find(key);
  if (flight == flights_.end()) return;
  Request* const leader = find_request(flight->second.leader);
  if (leader == nullptr || !leader->waits_for_cache) return;
  leave_flight(leader);
  CachedResponse* const entry = bytes ? cache_->insert_bytes(key, *bytes) : nullptr;
  if (entry == nullptr) {
    leader->model->statistics.cache_miss.add(1, now_ns - leader->enqueue_ns);
    return queue(leader, table_of(*leader), now_ns);
  }
  cache_->pin(entry);
  flight_over(leader);
  answer_from_cache(leader, entry, now_ns - leader->enqueue_ns);
  cache_->unpin(entry);
}

void Engine::answer_from_cache(Request* request, CachedResponse* entry, uint64_t lookup_ns) {
  ModelStatistics& figures = request->model->statistics;
  const uint64_t waited_ns = now_ns_ > request->enqueue_ns ? now_ns_ - request->enqueue_ns : 0;
  figures.cache_hit.add(1, lookup_ns);
  figures.queue.add(1, waited_ns);
  figures.success.add(1, waited_ns + lookup_ns);
  figures.last_inference_ms = base::wall_ms();
  request->answered = request->released = true;
  cache_->pin(entry);
  Answer answer;
  answer.record.flags = shm::kFinal;
  answer.cached = entry;
  Model* const model = request->model;
  deliver(request, std::move(answer));
  finish_if_over(request);
  check_drained(model);
}

// `table`: of the answer. It is kept before anybody is told, so that whoever waits for it finds it.
void Engine::keep_answer(Request* request, std::span<const uint8_t> table) {
  if (request->cache_role != CacheRole::kLeader && request->cache_role != CacheRole::kAlone) return;
  if (request->model->ensemble != nullptr && request->models_epoch != models_epoch_) return;
  const uint64_t began_ns = base::monotonic_ns();
  shm::ResponseView view;
  if (view.parse(table).ok()) {
    const CachedResponse* const entry =
        cache_->insert(request->cache_key, view,
                       [this](const shm::TensorEntry& output) { return bytes_in(output); });
    if (entry != nullptr && cache_elsewhere_ && request->model->ensemble == nullptr)
      keep_elsewhere(*entry);
  }
  request->model->statistics.cache_miss.add(0, base::monotonic_ns() - began_ns);
}

void Engine::keep_elsewhere(const CachedResponse& entry) {
  std::string bytes = cache_->to_bytes(entry);
  if (bytes.empty() || keeping_bytes_ + bytes.size() > kMaxKeepingBytes) return;
  keeping_bytes_ += bytes.size();
  events_.push_back({Event::Kind::kCacheKeep, entry.key.model, std::move(bytes), entry.key});
}

// The leader is answered, refused or gone. Its followers get its answer if it was kept; otherwise each is executed for itself.
void Engine::flight_over(Request* request) {
  if (std::exchange(request->cache_role, CacheRole::kNone) != CacheRole::kLeader) return;
  auto node = flights_.extract(request->cache_key);
  if (node.empty() || node.mapped().followers.empty()) return;
  CachedResponse* const entry = cache_->find(request->cache_key);
  if (entry != nullptr) cache_->pin(entry);
  for (const uint64_t ticket : node.mapped().followers) {
    Request* const follower = find_request(ticket);
    if (follower == nullptr || !follower->waits_for_cache) continue;
    leave_flight(follower);
    if (entry != nullptr) {
      answer_from_cache(follower, entry, 0);
      continue;
    }
    follower->cache_role = CacheRole::kAlone;
    follower->model->statistics.cache_miss.add(1, 0);
    queue(follower, table_of(*follower), now_ns_);
  }
  if (entry != nullptr) cache_->unpin(entry);
}

// Of a request that waits; it is no longer one of the flight.
void Engine::leave_flight(Request* request) {
  request->waits_for_cache = false;
  --request->model->waiting_for_cache;
  --counters_.waiting_for_cache;
  request->model->queued_bytes -= request->payload_bytes;
  const auto flight = flights_.find(request->cache_key);
  if (request->cache_role == CacheRole::kFollower) {
    request->cache_role = CacheRole::kNone;
    if (flight != flights_.end()) std::erase(flight->second.followers, request->ticket);
  }
}

// Refuses all that wait for an answer of the model.
void Engine::end_flights_of(Model* model, base::Code code, const std::string& message,
                            uint64_t now_ns) {
  if (model->waiting_for_cache == 0) return;
  std::vector<uint64_t> tickets;
  for (const auto& [key, flight] : flights_) {
    if (key.model != model->handle) continue;
    tickets.insert(tickets.end(), flight.followers.begin(), flight.followers.end());
    tickets.push_back(flight.leader);  // after those that would be queued when it ends
  }
  for (const uint64_t ticket : tickets) {
    Request* const request = find_request(ticket);
    if (request == nullptr || !request->waits_for_cache) continue;
    leave_flight(request);
    refuse(request, code, message, now_ns);
  }
}

}  // namespace pyserver::engine
