// max_inflight_requests: no more requests of one step than that are under way, over all requests of the ensemble. A step that finds no
// room waits for its turn. What a decoupled step answers meanwhile waits in its scopes, and it is held up when so many wait.
#include <algorithm>

#include "engine/engine.h"

namespace pyserver::engine {

namespace {

// What an Execute record can say; instances allow less by themselves.
constexpr uint64_t kMostUnread = UINT16_MAX;

}  // namespace

// True: there is no room, and the step will be started when there is; or too many wait already, and the run has failed.
bool Engine::waits_for_room(Run* run, uint32_t scope, uint32_t index) {
  Ensemble& ensemble = *run->request->model->ensemble;
  const uint64_t limit = ensemble.plan.max_inflight_requests;
  if (limit == 0 || ensemble.inflight[index] < limit) return false;
  // (How many scopes there are, their decoupled step's instance limits.)
  if (scope == 0 &&
      ensemble.waiting[index].size() >= run->request->model->settings.max_queued_requests) {
    fail_run(run, base::Code::kUnavailable,
             request_prefix(*run->request) + "Exceeds maximum queue size");
    return true;
  }
  ensemble.waiting[index].push_back({run->request->ticket, scope});
  ++run->scopes.at(scope).waiting;
  ++run->waiting;
  return true;
}

// Steps that found no room may have some now.
void Engine::wake_waiting(Model* model) {
  Ensemble& ensemble = *model->ensemble;
  const uint64_t limit = ensemble.plan.max_inflight_requests;
  if (limit == 0 || std::exchange(ensemble.waking, true)) return;
  for (bool any = true; any;) {
    any = false;
    for (uint32_t index = 0; index < ensemble.waiting.size(); ++index) {
      while (!ensemble.waiting[index].empty() && ensemble.inflight[index] < limit) {
        const WaitingStep next = ensemble.waiting[index].front();
        ensemble.waiting[index].pop_front();
        wake(next, index);
        any = true;
      }
    }
  }
  ensemble.waking = false;
}

void Engine::wake(const WaitingStep& step, uint32_t index) {
  Request* const request = find_request(step.ticket);
  if (request == nullptr || request->led == nullptr) return;
  Run* const run = request->led.get();
  --run->waiting;
  --run->scopes.at(step.scope).waiting;
  if (!run->failed) start_step(run, step.scope, index);
  run->changed.push_back(step.scope);
  advance(run);
}

// The run is over.
void Engine::stop_waiting(Run* run) {
  if (run->waiting == 0) return;
  for (std::deque<WaitingStep>& waiting : run->request->model->ensemble->waiting) {
    std::erase_if(waiting,
                  [run](const WaitingStep& one) { return one.ticket == run->request->ticket; });
  }
  run->waiting = 0;
}

// How many responses of a step may be unread; 0: as many as its instance allows. An ensemble in an ensemble obeys the outer one, too.
uint16_t Engine::max_unread(const Run& run) const {
  const uint64_t own = run.request->model->ensemble->plan.max_inflight_requests;
  const uint64_t outer = run.request->max_unread;
  const uint64_t limit = own != 0 && outer != 0 ? std::min(own, outer) : std::max(own, outer);
  return static_cast<uint16_t>(std::min(limit, kMostUnread));
}

}  // namespace pyserver::engine
