// Forming batches for idle instances, and telling when a model has run dry.
#include <algorithm>

#include "engine/engine.h"

namespace pyserver::engine {

namespace {

// An instance whose batches take less than this would idle for most of the time that a record needs to travel there and back, so it
// gets several batches ahead; a slower one gets the next batch when it is idle, which keeps batches large and instances evenly loaded.
constexpr uint64_t kQuickExecutionNs = 100'000;
constexpr size_t kAheadWhenQuick = 16;

}  // namespace

void Engine::mark_dirty(Model* model) {
  if (model->dirty) return;
  model->dirty = true;
  dirty_models_.push_back(model);
}

void Engine::dispatch(uint64_t now_ns) {
  now_ns_ = now_ns;
  while (!timers_.empty() && timers_.top().first <= now_ns) {
    const auto [wake_ns, handle] = timers_.top();
    timers_.pop();
    const auto found = models_.find(handle);
    if (found == models_.end() || found->second->wake_ns != wake_ns) continue;
    found->second->wake_ns = sched::kNever;
    mark_dirty(found->second.get());
  }
  for (size_t index = 0; index < dirty_models_.size(); ++index) {
    Model* model = dirty_models_[index];
    model->dirty = false;
    if (limiter_ != nullptr) {
      ask_for_turns(model, now_ns);
    } else {
      dispatch_model(model, now_ns);
    }
  }
  dirty_models_.clear();
  if (limiter_ != nullptr) take_turns(now_ns);
  if (stopping_) check_quiet();
}

uint64_t Engine::wake_ns() {
  while (!timers_.empty()) {
    const auto [wake_ns, handle] = timers_.top();
    const auto found = models_.find(handle);
    if (found != models_.end() && found->second->wake_ns == wake_ns) return wake_ns;
    timers_.pop();
  }
  return sched::kNever;
}

bool Engine::is_idle(const Model& model, const Peer& instance) const {
  // Never a batch ahead where the one before it may wait for that very batch.
  const bool quick = model.queue_is_direct && !model.calls && model.execution_ns != 0 &&
                     model.execution_ns < kQuickExecutionNs;
  return instance.executing < (quick ? kAheadWhenQuick : 1);
}

Peer* Engine::idle_instance(const Model& model) const {
  Peer* best = nullptr;
  for (Peer* instance : model.instances) {
    if (best == nullptr || instance->executing < best->executing) best = instance;
    if (best->executing == 0) return best;
  }
  return best != nullptr && is_idle(model, *best) ? best : nullptr;
}

void Engine::dispatch_model(Model* model, uint64_t now_ns) {
  model->policy->drop_expired(now_ns, &dropped_);
  drop(now_ns);
  uint64_t wake_ns = model->policy->expiry_ns();
  if (model->policy->binds_instances()) {
    for (Peer* instance : model->instances) {
      if (is_idle(*model, *instance)) form_batch(model, instance, now_ns);
    }
    wake_ns = std::min(wake_ns, model->policy->wake_ns());
  } else {
    Peer* instance = nullptr;
    while (model->policy->queued() > 0 && (instance = idle_instance(*model)) != nullptr) {
      if (form_batch(model, instance, now_ns)) continue;
      wake_ns = std::min(wake_ns, model->policy->wake_ns());
      break;
    }  // without an idle instance BatchDone marks the model again
  }
  set_timer(model, wake_ns);
}

bool Engine::form_batch(Model* model, Peer* instance, uint64_t now_ns) {
  formed_.clear();
  model->policy->next_batch(instance->id, now_ns, &formed_);
  if (formed_.empty()) return false;
  send_batch(model, instance, now_ns);
  return true;
}

void Engine::set_timer(Model* model, uint64_t wake_ns) {
  if (wake_ns == model->wake_ns) return;
  model->wake_ns = wake_ns;  // an earlier entry is stale from now on
  if (wake_ns != sched::kNever) timers_.emplace(wake_ns, model->handle);
}

void Engine::send_batch(Model* model, Peer* instance, uint64_t now_ns) {
  auto made = std::make_unique<Batch>();
  made->id = next_batch_id_++;
  made->model = model;
  made->instance = instance;
  made->dispatched_ns = now_ns;
  made->open = static_cast<uint32_t>(formed_.size());
  made->requests.reserve(formed_.size());
  if (model->policy->binds_instances()) made->sequences = formed_;
  shm::BatchHead head;
  head.request_count = made->open;
  head.batch = made->id;
  Request* likeness = nullptr;  // what null requests show
  for (const sched::Member& member : formed_) {
    if (likeness == nullptr) likeness = static_cast<Request*>(member.request);
    made->figures.rows += member.request != nullptr ? member.request->rows() : 1;
  }
  head.batch_size = static_cast<uint32_t>(made->figures.rows);
  send(instance, shm::pack(head));
  for (const sched::Member& member : formed_) {
    auto* request = static_cast<Request*>(member.request);
    if (request == nullptr) {
      request = make_request(nullptr);
      request->model = model;
      request->null_request = true;
      request->likeness = likeness;
      ++likeness->null_requests;
    } else {
      model->queued_bytes -= request->payload_bytes;
    }
    send_execute(made.get(), request, member);
  }
  ++model->running;
  if (instance->executing++ == 0) instance->executing_since_ns = now_ns;
  ++instance->unclosed;
  ++counters_.live_batches;
  instance->batches.emplace(made->id, std::move(made));
}

void Engine::send_execute(Batch* batch, Request* request, const sched::Member& member) {
  request->instance = batch->instance;
  request->batch = batch;
  request->batch_index = static_cast<uint32_t>(batch->requests.size());
  batch->requests.push_back(request);
  const Request& shown = request->likeness != nullptr ? *request->likeness : *request;
  shm::Execute execute;
  execute.flags = request->likeness != nullptr ? shm::kNullRequest : request->flags;
  if (member.generation != 0 && request->likeness == nullptr) execute.flags |= shm::kSequenceReady;
  execute.max_unread = request->max_unread;
  execute.submitter = shown.own_table ? shm::kCorePeer : shown.submitter->id;
  execute.ticket = request->ticket;
  execute.table_offset = shown.table_offset;
  execute.table_bytes = shown.table_bytes;
  execute.batch_size = shown.batch_size;
  execute.timeout_us = shown.timeout_us;
  execute.priority = shown.priority;
  execute.slot = member.slot;
  execute.generation = member.generation;
  send(batch->instance, shm::pack(execute));
}

void Engine::check_quiet() {
  if (quiet_) return;
  for (const auto& [handle, model] : models_) {
    if (model->policy->live_sequences() > 0) return;
  }
  quiet_ = true;
  events_.push_back({Event::Kind::kQuiet, 0, {}});
}

void Engine::check_drained(Model* model) {
  if (model->accepting || model->running > 0 || model->policy->queued() > 0 ||
      model->waiting_for_cache > 0 || model->drained) {
    return;
  }
  model->drained = true;
  events_.push_back({Event::Kind::kDrained, model->handle, {}});
}

}  // namespace pyserver::engine
