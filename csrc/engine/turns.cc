// Forming batches where turns are limited (--rate-limit=execution_count): instances with something to execute wait in the rate
// limiter, and a batch is formed when it is an instance's turn, not before, so that it can grow meanwhile. From then until BatchDone
// the instance holds its resources, so it never has a second batch.
#include <algorithm>

#include "engine/engine.h"

namespace pyserver::engine {

namespace {

// How soon a policy is asked again that answers for an instance which waits for its turn.
constexpr uint64_t kLookAgainNs = 1'000'000;

}  // namespace

// All idle instances wait, because any of them may be the first whose resources are free.
void Engine::ask_for_turns(Model* model, uint64_t now_ns) {
  model->policy->drop_expired(now_ns, &dropped_);
  drop(now_ns);
  set_timer(model, model->policy->expiry_ns());
  if (model->policy->queued() == 0) return stop_waiting(model);
  for (Peer* instance : model->instances) limiter_->wait(instance->seat);
}

void Engine::stop_waiting(Model* model) {
  for (Peer* instance : model->instances) limiter_->withdraw(instance->seat);
}

void Engine::take_turns(uint64_t now_ns) {
  while (Seat* seat = limiter_->next()) {
    Peer* instance = peer(seat->occupant);
    Model* model = instance->model;
    const bool formed = form_batch(model, instance, now_ns);
    if (formed) {
      limiter_->executes(seat);
    } else {
      limiter_->give_up(seat);
    }
    // Where instances have queues of their own, one that has nothing says nothing of the others.
    const bool binds = model->policy->binds_instances();
    if (model->policy->queued() == 0 || (!formed && !binds)) stop_waiting(model);
    if (formed && !binds) continue;
    // One that waits for its turn has not been asked: what it said last may be over.
    uint64_t wake_ns = model->policy->wake_ns();
    if (wake_ns <= now_ns) wake_ns = now_ns + kLookAgainNs;
    set_timer(model, std::min(wake_ns, model->policy->expiry_ns()));
  }
}

}  // namespace pyserver::engine
