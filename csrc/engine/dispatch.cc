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
    dispatch_model(model, now_ns);
  }
  dirty_models_.clear();
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

Peer* Engine::idle_instance(const Model& model) const {
  Peer* best = nullptr;
  for (Peer* instance : model.instances) {
    if (best == nullptr || instance->executing < best->executing) best = instance;
    if (best->executing == 0) return best;
  }
  if (best == nullptr) return nullptr;
  const bool quick =
      model.queue_is_direct && model.execution_ns != 0 && model.execution_ns < kQuickExecutionNs;
  return best->executing < (quick ? kAheadWhenQuick : 1) ? best : nullptr;
}

void Engine::dispatch_model(Model* model, uint64_t now_ns) {
  while (model->policy->queued() > 0) {
    Peer* instance = idle_instance(*model);
    if (instance == nullptr) return;  // BatchDone marks the model again
    formed_.clear();
    model->policy->next_batch(now_ns, &formed_);
    if (formed_.empty()) {
      const uint64_t wake_ns = model->policy->wake_ns();
      if (wake_ns != sched::kNever && wake_ns != model->wake_ns) {
        model->wake_ns = wake_ns;
        timers_.emplace(wake_ns, model->handle);
      }
      return;
    }
    send_batch(model, instance, now_ns);
  }
}

void Engine::send_batch(Model* model, Peer* instance, uint64_t now_ns) {
  auto made = std::make_unique<Batch>();
  made->id = next_batch_id_++;
  made->model = model;
  made->instance = instance;
  made->dispatched_ns = now_ns;
  made->open = static_cast<uint32_t>(formed_.size());
  made->requests.reserve(formed_.size());
  shm::BatchHead head;
  head.request_count = made->open;
  head.batch = made->id;
  for (const sched::Request* queued : formed_) made->figures.rows += queued->rows();
  head.batch_size = static_cast<uint32_t>(made->figures.rows);
  send(instance, shm::pack(head));
  for (sched::Request* queued : formed_) {
    auto* request = static_cast<Request*>(queued);
    request->instance = instance;
    request->batch = made.get();
    request->batch_index = static_cast<uint32_t>(made->requests.size());
    made->requests.push_back(request);
    shm::Execute execute;
    execute.flags = request->flags;
    execute.submitter = request->submitter->id;
    execute.ticket = request->ticket;
    execute.table_offset = request->table_offset;
    execute.table_bytes = request->table_bytes;
    execute.batch_size = request->batch_size;
    execute.timeout_us = request->timeout_us;
    execute.priority = request->priority;
    send(instance, shm::pack(execute));
  }
  ++model->running;
  ++instance->executing;
  ++instance->unclosed;
  ++counters_.live_batches;
  instance->batches.emplace(made->id, std::move(made));
}

void Engine::check_drained(Model* model) {
  if (model->accepting || model->running > 0 || model->policy->queued() > 0 || model->drained)
    return;
  model->drained = true;
  events_.push_back({Event::Kind::kDrained, model->handle, {}});
}

}  // namespace pyserver::engine
