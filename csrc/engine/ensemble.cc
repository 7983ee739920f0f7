// The life of an ensemble's request: which steps it needs, when each may run, when it is over.
#include "engine/ensemble.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "engine/engine.h"

namespace pyserver::engine {

Source::~Source() { engine->source_over(*this); }

void Engine::source_over(const Source& source) {
  if (ending_) return;
  if (source.kind == Source::Kind::kOwn) return own_memory_.free(source.number);
  if (source.kind == Source::Kind::kResponse) {
    if (Peer* owner = peer(source.peer); owner != nullptr) return_to(owner, source.number);
    return;
  }
  if (source.kind == Source::Kind::kCached) {
    cache_->unpin(reinterpret_cast<CachedResponse*>(source.number));
    return;
  }
  Request* request = find_request(source.number);
  if (request == nullptr || request->released) return;
  request->released = true;
  tell_released(request);
  finish_if_over(request);
}

void Engine::start_run(Request* request, std::span<const uint8_t> table) {
  auto made = std::make_unique<Run>();
  Run* run = made.get();
  run->request = request;
  request->let_go = true;
  request->led = std::move(made);
  ++request->model->running;
  ++counters_.live_runs;
  run->memory = std::make_shared<Source>(this, Source::Kind::kRequest, 0, request->ticket);
  base::Status status = run->table.parse(table);
  const ModelSettings& settings = request->model->settings;
  const std::string& name = request->model->ensemble->plan.name;
  if (status.ok())
    status = catalog_.find(name.empty() ? settings.name : name, std::to_string(settings.version),
                           &run->spec);
  if (status.ok()) status = choose_steps(run);
  if (!status.ok()) {
    fail_run(run, status.code(), status.message());
  } else {
    take_inputs(run);
  }
  advance(run);
}

// Which tensors and steps the requested outputs need, and which of them a decoupled step repeats.
base::Status Engine::choose_steps(Run* run) {
  const EnsemblePlan& plan = run->request->model->ensemble->plan;
  const size_t tensors = plan.tensors.size();
  const size_t steps = plan.steps.size();
  run->wanted.assign(tensors, false);
  run->repeated.assign(tensors, false);
  run->repeated_steps.assign(steps, false);
  run->models.resize(steps);
  const auto want = [&](std::string_view name) {
    const auto found = std::find(plan.tensors.begin(), plan.tensors.end(), name);
    if (found != plan.tensors.end())
      run->wanted[static_cast<size_t>(found - plan.tensors.begin())] = true;
  };
  if (run->table.outputs().empty()) {
    for (const model::TensorSpec& output : run->spec->outputs) want(output.name);
  } else {
    for (const shm::OutputEntry& output : run->table.outputs()) want(run->table.text(output.name));
  }
  run->needed = run->wanted;
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t index = 0; index < steps; ++index) {
      const EnsembleStep& step = plan.steps[index];
      const bool makes = std::any_of(step.outputs.begin(), step.outputs.end(),
                                     [&](const auto& one) { return run->needed[one.second]; });
      if (!makes || run->models[index] != nullptr) continue;
      base::Status status =
          catalog_.find(step.model, step.version < 0 ? std::string() : std::to_string(step.version),
                        &run->models[index]);
      if (!status.ok()) return status;
      for (const auto& [name, tensor] : step.inputs) run->needed[tensor] = true;
      changed = true;
    }
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t index = 0; index < steps; ++index) {
      const EnsembleStep& step = plan.steps[index];
      if (run->models[index] == nullptr) continue;
      const bool repeated = std::any_of(step.inputs.begin(), step.inputs.end(),
                                        [&](const auto& one) { return run->repeated[one.second]; });
      if (!repeated && !run->models[index]->decoupled) continue;
      run->repeated_steps[index] = repeated;
      for (const auto& [name, tensor] : step.outputs) {
        if (run->repeated[tensor]) continue;
        changed = run->repeated[tensor] = true;
      }
    }
  }
  for (size_t tensor = 0; tensor < tensors; ++tensor)
    run->repeats = run->repeats || (run->wanted[tensor] && run->repeated[tensor]);
  return {};
}

void Engine::take_inputs(Run* run) {
  const EnsemblePlan& plan = run->request->model->ensemble->plan;
  Scope& root = run->scopes[0];
  run->changed.push_back(0);
  root.values.resize(plan.tensors.size());
  root.started.assign(plan.steps.size(), false);
  for (size_t tensor = 0; tensor < plan.tensors.size(); ++tensor) {
    if (run->spec->input_index(plan.tensors[tensor]) < 0) continue;
    Value& value = root.values[tensor];
    value.state = Value::State::kAbsent;
    for (const shm::TensorEntry& entry : run->table.inputs()) {
      if (run->table.text(entry.name) != plan.tensors[tensor]) continue;
      const std::span<const int64_t> shape = run->table.shape(entry);
      value.state = Value::State::kSet;
      value.datatype = entry.datatype;
      value.shape.assign(shape.begin(), shape.end());
      value.location = {entry.place, entry.region, entry.offset, entry.byte_size};
      if (run->needed[tensor]) value.source = run->memory;
    }
  }
}

const Value& Engine::value_of(const Run& run, uint32_t scope, uint32_t tensor) {
  return run.scopes.at(run.repeated[tensor] ? scope : 0).values[tensor];
}

bool Engine::can_start(const Run& run, uint32_t scope, uint32_t index) const {
  if (run.models[index] == nullptr || run.repeated_steps[index] != (scope > 0) ||
      run.scopes.at(scope).started[index]) {
    return false;
  }
  const EnsembleStep& step = run.request->model->ensemble->plan.steps[index];
  return std::all_of(step.inputs.begin(), step.inputs.end(), [&](const auto& one) {
    return value_of(run, scope, one.second).state != Value::State::kPending;
  });
}

Scope& Engine::open_scope(Run* run) {
  const uint32_t number = run->next_scope++;
  Scope& made = run->scopes[number];
  made.values.resize(run->repeated.size());
  made.started.assign(run->models.size(), false);
  run->changed.push_back(number);
  return made;
}

// Nothing runs in it, and nothing can that does not wait for a step of the root.
bool Engine::is_over(const Run& run, uint32_t number) const {
  const Scope& scope = run.scopes.at(number);
  if (scope.open > 0 || scope.waiting > 0) return false;
  if (scope.answered) return true;
  const std::vector<Value>& root = run.scopes.at(0).values;
  const auto may_come = [&](size_t tensor) {
    return !run.repeated[tensor] && root[tensor].state == Value::State::kPending;
  };
  for (size_t tensor = 0; tensor < root.size(); ++tensor) {
    if (run.wanted[tensor] && may_come(tensor)) return false;
  }
  const EnsemblePlan& plan = run.request->model->ensemble->plan;
  for (size_t index = 0; index < plan.steps.size(); ++index) {
    if (!run.repeated_steps[index] || scope.started[index]) continue;
    const auto& inputs = plan.steps[index].inputs;
    if (std::any_of(inputs.begin(), inputs.end(),
                    [&](const auto& one) { return may_come(one.second); })) {
      return false;
    }
  }
  return true;
}

// Starts what can be started, answers what is complete, and ends the run when nothing is left. Whatever happens meanwhile (a step
// that is refused at once) adds to `changed`: the run is ended by the outermost call only.
void Engine::advance(Run* run) {
  if (std::exchange(run->busy, true)) return;
  while (!run->failed && !run->changed.empty()) {
    const uint32_t scope = run->changed.front();
    run->changed.pop_front();
    if (!run->scopes.contains(scope)) continue;
    const auto steps = static_cast<uint32_t>(run->models.size());
    for (uint32_t step = 0; step < steps && !run->failed; ++step) {
      if (can_start(*run, scope, step)) start_step(run, scope, step);
    }
    if (!run->failed) answer_scope(run, scope);
    if (!run->failed && scope > 0 && is_over(*run, scope)) run->scopes.erase(scope);
  }
  run->busy = false;
  if (run->failed || (run->open.empty() && run->waiting == 0)) end_run(run);
}

void Engine::fail_run(Run* run, base::Code code, const std::string& message) {
  if (run->failed) return;
  run->failed = true;
  run->code = static_cast<uint8_t>(code);
  run->message = "in ensemble '" + run->request->model->settings.name + "', " + message;
}

void Engine::cancel_run(Run* run) {
  run->failed = true;
  run->code = static_cast<uint8_t>(base::Code::kCancelled);
  run->message = request_prefix(*run->request) + "Request cancelled";
  if (!run->busy) end_run(run);
}

// Sends the last answer, lets go of what still runs, and forgets the run.
void Engine::end_run(Run* run) {
  Request* const request = run->request;
  Model* const model = request->model;
  const uint64_t ticket = request->ticket;
  const bool decoupled = run->spec != nullptr && run->spec->decoupled;
  if (!run->failed && !run->answered && !decoupled) {
    fail_run(
        run, base::Code::kInvalidArgument,
        "unexpected deadlock, at least one output is not set while no more ensemble steps can be "
        "made");
  }
  std::unique_ptr<Run> ended = std::move(request->led);
  for (const OpenStep& open : std::exchange(run->open, {})) abandon_step(model, open);
  stop_waiting(run);
  const bool told = run->answered && !decoupled;
  run->scopes.clear();  // memory that nobody else reads goes back with the answer
  flight_over(request);
  request->answered = true;
  count_run(*run);
  if (run->failed && !told) {
    answer_run_error(request, run->code, run->message);
  } else if (!told) {
    answer_run_empty(request);
  } else {
    request->delivered = true;
  }
  --counters_.live_runs;
  --model->running;
  model->last_use_ns = now_ns_;
  ended.reset();
  if (Request* still = find_request(ticket); still != nullptr) finish_if_over(still);
  check_drained(model);
  wake_waiting(model);
}

// Nobody wants the step's answer any more.
void Engine::abandon_step(Model* ensemble, const OpenStep& open) {
  --ensemble->ensemble->inflight[open.step];
  Request* request = find_request(open.ticket);
  if (request == nullptr) return;
  request->run = nullptr;
  if (request->queued) {
    dequeue(request, now_ns_);
    forget_request(request);
    drop(now_ns_);
  } else if (request->waits_for_cache) {
    leave_flight(request);
    forget_request(request);
  } else if (request->led != nullptr) {
    cancel_run(request->led.get());
  } else if (request->instance != nullptr && !request->answered) {
    shm::Cancelled cancelled;
    cancelled.ticket = request->ticket;
    send(request->instance, shm::pack(cancelled));
  }
}

void Engine::count_run(const Run& run) {
  ModelStatistics& figures = run.request->model->statistics;
  const uint64_t began_ns = run.request->enqueue_ns;
  const uint64_t took_ns = now_ns_ > began_ns ? now_ns_ - began_ns : 0;
  figures.last_inference_ms = base::wall_ms();
  if (run.failed) {  // Triton counts it as the step's failure and as the ensemble's
    figures.fail.add(2, 2 * took_ns);
    return;
  }
  figures.success.add(1, took_ns);
  figures.queue.add(1, run.queue_ns);
  figures.compute_input.add(1, 0);
  figures.compute_infer.add(1, run.compute_ns);
  figures.compute_output.add(1, 0);
  figures.inference_count += run.request->rows();
  ++figures.execution_count;
  BatchStatistics& of_size = figures.batches[run.request->rows()];
  of_size.compute_input.add(1, 0);
  of_size.compute_infer.add(1, run.compute_ns);
  of_size.compute_output.add(1, 0);
}

// The ensemble is about to go. Comes from the control plane: no run is being advanced.
void Engine::end_runs_of(Model* model, const std::string& message) {
  for (size_t slot = 0; slot < slots_.size(); ++slot) {
    Request& request = slots_[slot];
    if (!request.live || request.model != model || request.led == nullptr) continue;
    fail_run(request.led.get(), base::Code::kUnavailable, message);
    end_run(request.led.get());
  }
}

}  // namespace pyserver::engine
