// What becomes of what an instance was executing when it died, and which instances take too long.
#include <utility>

#include "engine/engine.h"

namespace pyserver::engine {

// The instance is gone: whoever waits for one of its answers is told why.
void Engine::abandon_batch(Batch* batch, const std::string& message, uint64_t now_ns,
                           bool keeps_memory) {
  while (!batch->requests.empty()) {
    Request* request = batch->requests.back();
    const bool was_answered = request->answered;
    if (may_try_again(*request, keeps_memory)) {
      try_again(request, now_ns);
      continue;
    }
    flight_over(request);
    if (!was_answered) answered(request, true, now_ns);
    leave_batch(request);  // whoever is answered now may still wait for its turn
    request->instance = nullptr;
    const bool stays = keeps_memory && !request->released && !request->null_request;
    const bool was_released = std::exchange(request->released, !stays);
    request->let_go = true;
    request->likeness = nullptr;
    request->null_requests = 0;
    if (!was_answered) {
      deliver_error(request, base::Code::kUnavailable, request_prefix(*request) + message,
                    shm::kFinal);
    } else if (!was_released && !stays) {
      tell_released(request);
    }
    finish_if_over(request);
  }
  if (!batch->done) --batch->instance->executing;
  batch->done = true;
  close_if_over(batch);
  erase_if_over(batch);
}

// Once, where the config says that executing twice does no harm, and nobody has seen anything of the first time.
bool Engine::may_try_again(const Request& request, bool keeps_memory) const {
  if (request.model == nullptr || !request.model->settings.idempotent || request.tried_again)
    return false;
  if (request.answered || request.cancelled || request.null_request || request.has_responded ||
      request.let_go || request.warm_up != nullptr || keeps_memory) {
    return false;
  }
  if (request.model->policy->binds_instances()) return false;  // its state died with the instance
  return request.submitter != nullptr || request.run != nullptr;
}

void Engine::try_again(Request* request, uint64_t now_ns) {
  Model* const model = request->model;
  --request->batch->open;
  leave_batch(request);
  request->instance = nullptr;
  request->tried_again = true;
  ++counters_.tried_again;
  model->queued_bytes += request->payload_bytes;
  model->policy->add(request, now_ns, &dropped_);
  drop(now_ns);
  mark_dirty(model);
}

std::vector<uint32_t> Engine::overdue(uint64_t now_ns) const {
  std::vector<uint32_t> found;
  for (const auto& [handle, model] : models_) {
    const uint64_t limit_ns = model->settings.execute_limit_ns;
    if (limit_ns == 0) continue;
    for (const Peer* instance : model->instances) {
      if (instance->executing > 0 && now_ns > instance->executing_since_ns + limit_ns)
        found.push_back(instance->id);
    }
  }
  return found;
}

}  // namespace pyserver::engine
