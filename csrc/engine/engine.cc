// The engine's books: peers, models, instances. What records do is in records.cc, how batches are formed in dispatch.cc.
#include "engine/engine.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace pyserver::engine {

Engine::Engine(shm::Mapping own_region, uint64_t budget_bytes, uint64_t cache_bytes)
    : own_region_(std::move(own_region)), own_memory_(&own_region_, budget_bytes, 1 << 20) {
  if (cache_bytes > 0) cache_.emplace(&own_region_, &own_memory_, cache_bytes);
  leases_.emplace_back();
  peers_.emplace_back();  // id 0 is core itself
}

Engine::~Engine() {
  ending_ = true;  // what requests and leases hold is not given back
}

Peer* Engine::peer(uint32_t id) const { return id < peers_.size() ? peers_[id].get() : nullptr; }

Peer* Engine::add_peer(uint32_t id, PeerKind kind, shm::ChannelEnd channel, shm::Mapping region) {
  if (id >= peers_.size()) peers_.resize(id + 1);
  auto made = std::make_unique<Peer>();
  made->id = id;
  made->kind = kind;
  made->channel = std::move(channel);
  made->region = std::move(region);
  peers_[id] = std::move(made);
  ++counters_.peers;
  return peers_[id].get();
}

void Engine::retire_peer(uint32_t id, const std::string& message, uint64_t now_ns) {
  now_ns_ = now_ns;
  Peer* gone = peer(id);
  if (gone == nullptr) return;
  Model* const model = gone->model;
  const std::vector<SourceRef> read = read_by_calls(gone);
  leave_model(gone, now_ns);
  // What it executes: taken out of the map first, because abandoning a batch erases it.
  std::vector<Batch*> running;
  for (auto& [batch_id, batch] : gone->batches) running.push_back(batch.get());
  for (Batch* batch : running) abandon_batch(batch, message, now_ns, !read.empty());
  // What it submitted: queued requests cost nothing more, running ones learn that nobody waits.
  while (gone->requests != nullptr) {
    Request* request = gone->requests;
    unlink_submitter(request);
    if (request->queued) {
      dequeue(request, now_ns);
      forget_request(request);
      drop(now_ns);
    } else if (request->waits_for_cache) {
      leave_flight(request);
      forget_request(request);
    } else if (request->led != nullptr) {
      cancel_run(request->led.get());
    } else {
      if (request->instance != nullptr && !request->answered) {
        shm::Cancelled cancelled;
        cancelled.ticket = request->ticket;
        send(request->instance, shm::pack(cancelled));
      }
      finish_if_over(request);
    }
  }
  leave_seat(gone);
  if (model != nullptr) lose_held_replies(model, gone, message);
  // What it holds of others, and what others hold of it.
  while (gone->leases != 0) end_lease(gone->leases);
  for (Lease& lease : leases_) {
    if (lease.owner == gone) lease.owner = nullptr;  // the holder's Return will free the slot
  }
  std::erase(dirty_peers_, gone);
  peers_[id].reset();
  --counters_.peers;
  if (model != nullptr) check_drained(model);
}

void Engine::limit_rates(std::vector<ResourceLimit> limits) {
  limiter_ = std::make_unique<RateLimiter>(std::move(limits));
}

base::Status Engine::add_model(uint32_t handle, const ModelSettings& settings) {
  for (const sched::PolicyRow& row : sched::kPolicies) {
    if (settings.policy != row.name) continue;
    if (limiter_ != nullptr) {
      if (base::Status status = limiter_->add_model(handle, settings.instances); !status.ok())
        return status;
    }
    auto made = std::make_unique<Model>();
    made->handle = handle;
    made->settings = settings;
    made->policy = row.make(settings.queue);
    if (stopping_) made->policy->stop();
    if (settings.ensemble) {
      made->ensemble = std::make_unique<Ensemble>();
      made->ensemble->plan = *settings.ensemble;
      made->ensemble->inflight.assign(settings.ensemble->steps.size(), 0);
      made->ensemble->waiting.resize(settings.ensemble->steps.size());
    }
    made->queue_is_direct = settings.policy == "direct";
    models_[handle] = std::move(made);
    ++counters_.models;
    return {};
  }
  return base::internal_error("there is no scheduling policy '" + settings.policy + "'");
}

base::Status Engine::announce(std::string_view json) {
  models_changed();
  return catalog_.apply(json);
}

void Engine::models_changed() {
  ++models_epoch_;
  if (!cache_) return;
  for (const auto& [handle, model] : models_) {
    if (model->ensemble != nullptr) cache_->forget_model(handle);
  }
}

void Engine::drain_model(uint32_t handle) {
  const auto found = models_.find(handle);
  if (found == models_.end()) return;
  found->second->accepting = false;
  check_drained(found->second.get());
}

bool Engine::waited_for(uint32_t handle) const {
  const auto found = models_.find(handle);
  if (found == models_.end()) return false;
  return std::any_of(slots_.begin(), slots_.end(), [&](const Request& one) {
    const bool asked = one.submitter != nullptr || one.run != nullptr || one.warm_up != nullptr;
    return one.live && one.model == found->second.get() && asked && !one.answered && !one.cancelled;
  });
}

void Engine::stop_models() {
  stopping_ = true;
  for (const auto& [handle, model] : models_) model->policy->stop();
  check_quiet();
}

void Engine::abort_model(uint32_t handle, const std::string& message, uint64_t now_ns) {
  const auto found = models_.find(handle);
  if (found == models_.end()) return;
  Model* model = found->second.get();
  if (now_ns != 0) now_ns_ = now_ns;
  model->accepting = false;
  while (auto* queued = static_cast<Request*>(model->policy->any())) {
    dequeue(queued, now_ns);
    refuse(queued, base::Code::kUnavailable, message, now_ns);
    drop(now_ns);
  }
  end_flights_of(model, base::Code::kUnavailable, message, now_ns);
  check_drained(model);
}

void Engine::remove_model(uint32_t handle) {
  const auto found = models_.find(handle);
  if (found == models_.end()) return;
  abort_model(handle, "the model was removed", 0);
  models_changed();
  Model* model = found->second.get();
  model->settings.idempotent = false;  // nobody would try it again
  if (model->ensemble != nullptr) end_runs_of(model, "the model was removed");
  for (const auto& known : peers_) {
    if (!known) continue;
    if (known->model == model) {
      known->model = nullptr;
      known->seat = nullptr;
    }
    std::vector<Batch*> running;
    for (auto& [id, batch] : known->batches) {
      if (batch->model == model) running.push_back(batch.get());
    }
    for (Batch* batch : running) abandon_batch(batch, "the model was removed", 0);
  }
  if (limiter_ != nullptr) limiter_->remove_model(handle);
  while (model->order_first != nullptr) leave_order(model->order_first);
  if (cache_) cache_->forget_model(handle);
  std::erase(dirty_models_, model);
  for (Request& request : slots_) {  // answered, but somebody still reads their memory
    if (request.live && request.model == model) request.model = nullptr;
  }
  std::erase_if(events_, [handle](const Event& event) {
    return event.kind == Event::Kind::kDrained && event.id == handle;
  });
  models_.erase(found);
  --counters_.models;
}

base::Status Engine::add_instance(uint32_t handle, uint32_t peer_id, uint64_t now_ns,
                                  size_t index) {
  const auto found = models_.find(handle);
  Peer* instance = peer(peer_id);
  if (found == models_.end() || instance == nullptr || instance->kind != PeerKind::kInstance) {
    return base::internal_error("cannot add instance " + std::to_string(peer_id) +
                                " to model handle " + std::to_string(handle) +
                                ": no such model or instance");
  }
  if (limiter_ != nullptr) {
    Seat* const seat = limiter_->seat(handle, index);
    if (seat == nullptr || seat->occupant != 0) {
      return base::internal_error("model handle " + std::to_string(handle) +
                                  " has no place for an instance " + std::to_string(index));
    }
    seat->occupant = peer_id;
    instance->seat = seat;
  }
  instance->model = found->second.get();
  instance->leaving = false;
  found->second->instances.push_back(instance);
  found->second->policy->add_instance(peer_id, now_ns);
  mark_dirty(found->second.get());
  return {};
}

void Engine::remove_instance(uint32_t peer_id, uint64_t now_ns) {
  Peer* instance = peer(peer_id);
  if (instance == nullptr || instance->model == nullptr) return;
  leave_model(instance, now_ns);
  if (instance->unclosed == 0) events_.push_back({Event::Kind::kIdle, peer_id, {}});
}

void Engine::leave_model(Peer* instance, uint64_t now_ns) {
  if (instance->model == nullptr || std::exchange(instance->leaving, true)) return;
  std::erase(instance->model->instances, instance);
  leave_seat(instance);
  instance->model->policy->remove_instance(instance->id, now_ns, &dropped_);
  drop(now_ns);
  mark_dirty(instance->model);
}

// A seat is free for a successor when its occupant leaves; what still executes holds its resources until it is done.
void Engine::leave_seat(Peer* instance) {
  if (instance->seat == nullptr) return;
  limiter_->withdraw(instance->seat);
  if (instance->executing == 0) limiter_->vacate(std::exchange(instance->seat, nullptr));
}

const Model* Engine::find_model(uint32_t handle) const {
  const auto found = models_.find(handle);
  return found == models_.end() ? nullptr : found->second.get();
}

Counters Engine::counters() const {
  Counters now = counters_;
  now.own_bytes = own_memory_.used_bytes();
  for (const auto& [handle, model] : models_) now.queued_requests += model->policy->queued();
  return now;
}

Usage Engine::usage() const {
  Usage all;
  for (const auto& [handle, model] : models_) {
    const uint64_t in_flight = model->policy->queued() + model->running + model->waiting_for_cache +
                               model->policy->live_sequences();
    all[handle] = {in_flight, model->last_use_ns};
  }
  return all;
}

ResponseCache::Figures Engine::cache_figures() const {
  return cache_ ? cache_->figures() : ResponseCache::Figures{};
}

std::vector<Event> Engine::take_events() { return std::exchange(events_, {}); }

size_t Engine::poll(Peer* from, size_t limit, uint64_t now_ns) {
  now_ns_ = now_ns;
  size_t taken = 0;
  shm::Record record;
  while (taken < limit && from->channel.try_take(&record)) {
    handle(from, record, now_ns);
    ++taken;
  }
  if (taken > 0) from->channel.commit();
  if (from->channel.broken()) violation(from, "its ring is broken");
  return taken;
}

void Engine::poll_all(uint64_t now_ns) {
  for (const auto& known : peers_) {
    if (known && !known->broken) poll(known.get(), shm::kRingCapacity, now_ns);
  }
}

void Engine::send(Peer* to, const shm::Record& record) {
  to->channel.send(record);
  if (!to->dirty) {
    to->dirty = true;
    dirty_peers_.push_back(to);
  }
}

bool Engine::flush() {
  size_t kept = 0;
  for (Peer* to : dirty_peers_) {
    to->channel.flush();
    if (to->channel.backlog() > 0) {
      dirty_peers_[kept++] = to;
    } else {
      to->dirty = false;
    }
  }
  dirty_peers_.resize(kept);
  return kept > 0;
}

}  // namespace pyserver::engine
