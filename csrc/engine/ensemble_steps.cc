// From values to a step's request and from its response to values.
#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/engine.h"
#include "model/checks.h"
#include "model/shapes.h"
#include "shm/cache_key.h"

namespace pyserver::engine {

void Engine::start_step(Run* run, uint32_t scope, uint32_t index) {
  Model* const ensemble = run->request->model;
  run->scopes.at(scope).started[index] = true;
  if (waits_for_room(run, scope, index)) return;
  const auto found = models_.find(run->models[index]->handle);
  if (found == models_.end() || !found->second->accepting) {
    return fail_run(run, base::Code::kUnavailable,
                    "Request for unknown model: '" + run->models[index]->name + "' version " +
                        run->models[index]->version_text + " is not at ready state");
  }
  Model* const model = found->second.get();
  SequenceRef sequence;
  for (const auto& [name, tensor] : ensemble->ensemble->plan.steps[index].inputs)
    sequence = combine(sequence, value_of(*run, scope, tensor).sequence);
  Request* const request = make_request(nullptr);
  request->model = model;
  const base::Status status = fill_step(run, scope, index, sequence, request);
  if (!status.ok()) {
    forget_request(request);
    return fail_run(run, status.code(), status.message());
  }
  request->run = run;
  ++ensemble->ensemble->inflight[index];
  ++run->scopes.at(scope).open;
  run->open.push_back({request->ticket, index, scope, sequence});
  const std::span<const uint8_t> table{own_region_.data() + request->table_offset,
                                       request->table_bytes};
  enqueue(request, table, now_ns_);
  if (const std::string circle = circle_behind(*run); !circle.empty())
    fail_run(run, base::Code::kUnavailable, circle);
}

// Writes the step's table and what the policy must know; the request is as one that a frontend has submitted afterwards.
base::Status Engine::fill_step(Run* run, uint32_t scope, uint32_t index, const SequenceRef& given,
                               Request* request) {
  const EnsemblePlan& plan = run->request->model->ensemble->plan;
  const EnsembleStep& step = plan.steps[index];
  const model::ModelSpec& spec = *run->models[index];
  std::vector<const Value*> values;
  for (const auto& [name, tensor] : step.inputs) values.push_back(&value_of(*run, scope, tensor));
  const StepSequence sequence = sequence_for(run->table, given);
  model::RequestDraft draft;
  draft.begin(spec);
  draft.request_id = run->table.request_id();
  draft.correlation_id = sequence.id;
  draft.correlation_text = sequence.text;
  for (size_t input = 0; input < values.size(); ++input) {
    const Value& value = *values[input];
    if (value.state != Value::State::kSet) continue;
    std::vector<int64_t> shape = value.shape;
    const int known = spec.input_index(step.inputs[input].first);
    if (known >= 0)
      model::fit_rank(spec.inputs[static_cast<size_t>(known)], spec.max_batch_size > 0, &shape);
    const base::Status status = draft.add_input(step.inputs[input].first, value.datatype, shape);
    if (!status.ok()) return status;
    draft.inputs.back().location = value.location;
    if (value.source != nullptr) request->sources.push_back(value.source);
  }
  for (const auto& [name, tensor] : step.outputs) {
    if (!run->needed[tensor]) continue;
    if (const base::Status status = draft.add_output(name); !status.ok()) return status;
  }
  if (const base::Status status = model::check(&draft); !status.ok()) return status;
  shm::RequestBuilder& builder = step_table_;
  const shm::RequestHeader& header = run->table.header();
  builder.clear();
  model::write_table(draft, &builder);
  builder.header.flags = sequence.flags;
  builder.header.priority = header.priority;
  builder.header.timeout_us = header.timeout_us;
  for (const shm::ParameterEntry& entry : run->table.parameters())
    builder.add_parameter(run->table.parameter(entry));
  // (A nested ensemble's answer goes to the outer one without ever being a table: its steps' are kept.)
  if (spec.cache_seed && cache_ && request->model->ensemble == nullptr) {
    const auto bytes_of = [&](const shm::TensorEntry& input) {
      return bytes_in(input).value_or(std::span<const uint8_t>());
    };
    shm::set_cache_key(*spec.cache_seed, bytes_of, &builder);
  }
  if (!place_table(builder.finish(), &request->table_offset, &request->table_bytes))
    return base::unavailable("core has no memory left for the request of a step");
  request->own_table = true;
  request->flags = static_cast<uint8_t>(sequence.flags);
  request->batch_size = draft.batch_size;
  request->signature = draft.signature;
  request->timeout_us = header.timeout_us;
  request->priority = header.priority;
  request->payload_bytes = draft.payload_bytes;
  request->begun = true;
  request->max_unread = max_unread(*run);
  return {};
}

bool Engine::place_table(std::span<const uint8_t> table, uint64_t* offset, uint32_t* bytes) {
  const std::optional<uint64_t> place = own_memory_.allocate(table.size());
  if (!place) return false;
  std::memcpy(own_region_.data() + *place, table.data(), table.size());
  *offset = *place;
  *bytes = static_cast<uint32_t>(table.size());
  return true;
}

// The one place where a step's answer arrives.
void Engine::step_answered(Request* request, const Answer& answer) {
  Peer* const from = answer.from;
  const shm::Response& record = answer.record;
  const bool final = (record.flags & shm::kFinal) != 0;
  SourceRef memory;
  shm::ResponseView view;
  base::Status status;
  std::vector<NamedValue> outputs;
  if (answer.cached != nullptr) {
    memory = std::make_shared<Source>(this, Source::Kind::kCached, shm::kCorePeer,
                                      reinterpret_cast<uintptr_t>(answer.cached));
    status = view.parse(cache_->table(*answer.cached));
    if (status.ok()) outputs = values_in(*request, shm::kCorePeer, view, memory);
  } else if (from != nullptr && (record.flags & shm::kEmpty) == 0) {
    memory = std::make_shared<Source>(this, Source::Kind::kResponse, from->id, record.cookie);
    status = view.parse({from->region.data() + record.table_offset, record.table_bytes});
    if (status.ok() && (record.flags & shm::kError) != 0)
      status = base::Status(static_cast<base::Code>(record.code), std::string(view.message()));
    if (status.ok()) outputs = values_in(*request, from->id, view, memory);
  } else if ((record.flags & shm::kEmpty) == 0) {
    status = base::Status(static_cast<base::Code>(record.code), answer.message);
  }
  const bool empty = (record.flags & shm::kEmpty) != 0;
  take_answer(request, final, empty ? nullptr : &outputs, status);
}

std::vector<Engine::NamedValue> Engine::values_in(const Request& request, uint32_t owner,
                                                  const shm::ResponseView& view,
                                                  const SourceRef& memory) const {
  const SequenceRef sequence = sequence_of(view);
  std::vector<NamedValue> made;
  for (const shm::TensorEntry& entry : view.outputs()) {
    NamedValue& one = made.emplace_back();
    one.name = view.text(entry.name);
    one.value.state = Value::State::kSet;
    one.value.datatype = entry.datatype;
    const std::span<const int64_t> shape = view.shape(entry);
    one.value.shape.assign(shape.begin(), shape.end());
    one.value.location = {entry.place, entry.region, entry.offset, entry.byte_size};
    one.value.source = memory;
    one.value.sequence = sequence;
    if (entry.region != owner) memory->under = request.sources;
  }
  return made;
}

void Engine::take_answer(Request* request, bool final, std::vector<NamedValue>* outputs,
                         const base::Status& status) {
  Run* const run = request->run;
  Model* const ensemble = run->request->model;
  const auto open = std::find_if(run->open.begin(), run->open.end(), [&](const OpenStep& one) {
    return one.ticket == request->ticket;
  });
  const OpenStep step = *open;
  if (final) {
    run->open.erase(open);
    request->run = nullptr;
    --ensemble->ensemble->inflight[step.step];
    --run->scopes.at(step.scope).open;
    if (request->batch != nullptr) {
      const uint64_t sent_ns = request->batch->dispatched_ns;
      run->queue_ns += sent_ns > request->enqueue_ns ? sent_ns - request->enqueue_ns : 0;
      run->compute_ns += now_ns_ > sent_ns ? now_ns_ - sent_ns : 0;
    }
  }
  if (!status.ok()) {
    fail_run(run, status.code(), status.message());
  } else if (outputs != nullptr) {
    set_values(run, step, outputs);
  }
  if (step.scope != 0) run->changed.push_back(step.scope);
  advance(run);
  if (final) wake_waiting(ensemble);
}

void Engine::set_values(Run* run, const OpenStep& open, std::vector<NamedValue>* outputs) {
  const EnsembleStep& step = run->request->model->ensemble->plan.steps[open.step];
  const model::ModelSpec& spec = *run->models[open.step];
  Scope& scope = spec.decoupled ? open_scope(run) : run->scopes.at(open.scope);
  for (NamedValue& output : *outputs) {
    const auto mapped = std::find_if(step.outputs.begin(), step.outputs.end(),
                                     [&](const auto& one) { return one.first == output.name; });
    if (mapped == step.outputs.end() || !run->needed[mapped->second]) continue;
    const int known = spec.output_index(output.name);
    if (known >= 0) {
      const model::TensorSpec& tensor = spec.outputs[static_cast<size_t>(known)];
      std::vector<int64_t> undone;
      if (model::undo_reshape(tensor, spec.max_batch_size > 0, output.value.shape, &undone))
        output.value.shape = std::move(undone);
    }
    output.value.sequence = combine(open.sequence, output.value.sequence);
    scope.values[mapped->second] = std::move(output.value);
  }
  if (spec.decoupled) return;  // a scope that lacks a tensor ends without an answer
  for (const auto& [name, tensor] : step.outputs) {
    Value& value = scope.values[tensor];
    if (value.state == Value::State::kPending) value.state = Value::State::kAbsent;
  }
  if (open.scope == 0) {  // for steps in the others, too
    for (const auto& [number, each] : run->scopes) run->changed.push_back(number);
  }
}

}  // namespace pyserver::engine
