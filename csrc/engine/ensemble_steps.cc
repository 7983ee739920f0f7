// From values to a step's request and from its response to values; and the ensemble's own answers.
#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/engine.h"
#include "model/checks.h"
#include "model/shapes.h"
#include "shm/cache_key.h"

namespace pyserver::engine {

namespace {

// A batch of one and no batch differ by a dimension in front.
void fit_rank(const model::TensorSpec& spec, bool batching, std::vector<int64_t>* shape) {
  const size_t wanted = spec.dims.size() + (batching && !spec.shape_tensor ? 1 : 0);
  if (shape->size() + 1 == wanted && batching) {
    shape->insert(shape->begin(), 1);
  } else if (shape->size() == wanted + 1 && !batching && shape->front() == 1) {
    shape->erase(shape->begin());
  }
}

std::shared_ptr<const SequenceOverride> sequence_of(const shm::ResponseView& view) {
  SequenceOverride made;
  bool any = false;
  for (const shm::ParameterEntry& entry : view.parameters()) {
    const shm::Parameter parameter = view.parameter(entry);
    const auto* number = std::get_if<int64_t>(&parameter.value);
    const auto* text = std::get_if<std::string>(&parameter.value);
    const auto* flag = std::get_if<bool>(&parameter.value);
    if (parameter.key == "sequence_id" && number != nullptr) {
      made.id = static_cast<uint64_t>(*number);
    } else if (parameter.key == "sequence_id" && text != nullptr) {
      made.text = *text;
    } else if (parameter.key == "sequence_start" && flag != nullptr) {
      made.start = *flag;
    } else if (parameter.key == "sequence_end" && flag != nullptr) {
      made.end = *flag;
    } else {
      continue;
    }
    any = true;
  }
  return any ? std::make_shared<const SequenceOverride>(std::move(made)) : nullptr;
}

struct StepSequence {
  uint64_t id;
  std::string text;
  uint32_t flags;
};

void set_flag(uint32_t flag, bool on, uint32_t* flags) {
  *flags = on ? *flags | flag : *flags & ~flag;
}

// Of what is made of these tensors: the request's own, but for what a step's response has said.
StepSequence sequence_for(const Run& run, const std::vector<const Value*>& values) {
  const shm::RequestHeader& header = run.table.header();
  StepSequence made{header.correlation_id, std::string(run.table.correlation_text()), header.flags};
  for (const Value* value : values) {
    const SequenceOverride* given = value->sequence.get();
    if (given == nullptr) continue;
    if (given->id) made.id = *given->id, made.text.clear();
    if (given->text) made.text = *given->text, made.id = 0;
    if (given->start) set_flag(shm::kSequenceStart, *given->start, &made.flags);
    if (given->end) set_flag(shm::kSequenceEnd, *given->end, &made.flags);
  }
  return made;
}

}  // namespace

void Engine::start_step(Run* run, uint32_t scope, uint32_t index) {
  Model* const ensemble = run->request->model;
  const uint64_t limit = ensemble->ensemble->plan.max_inflight_requests;
  if (limit > 0 && ensemble->ensemble->inflight[index] >= limit) {
    if (!std::exchange(run->waits, true))
      ensemble->ensemble->waiting.push_back(run->request->ticket);
    return;
  }
  run->scopes[scope].started[index] = true;
  const auto found = models_.find(run->models[index]->handle);
  if (found == models_.end() || !found->second->accepting) {
    return fail_run(run, base::Code::kUnavailable,
                    "Request for unknown model: '" + run->models[index]->name + "' version " +
                        run->models[index]->version_text + " is not at ready state");
  }
  Model* const model = found->second.get();
  Request* const request = make_request(nullptr);
  request->model = model;
  const base::Status status = fill_step(run, scope, index, request);
  if (!status.ok()) {
    forget_request(request);
    return fail_run(run, status.code(), status.message());
  }
  request->run = run;
  ++ensemble->ensemble->inflight[index];
  run->open.push_back({request->ticket, index, scope});
  const std::span<const uint8_t> table{own_region_.data() + request->table_offset,
                                       request->table_bytes};
  enqueue(request, table, now_ns_);
  if (const std::string circle = circle_behind(*run); !circle.empty())
    fail_run(run, base::Code::kUnavailable, circle);
}

// Writes the step's table and what the policy must know; the request is as one that a frontend has submitted afterwards.
base::Status Engine::fill_step(Run* run, uint32_t scope, uint32_t index, Request* request) {
  const EnsemblePlan& plan = run->request->model->ensemble->plan;
  const EnsembleStep& step = plan.steps[index];
  const model::ModelSpec& spec = *run->models[index];
  std::vector<const Value*> values;
  for (const auto& [name, tensor] : step.inputs) values.push_back(&value_of(*run, scope, tensor));
  const StepSequence sequence = sequence_for(*run, values);
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
      fit_rank(spec.inputs[static_cast<size_t>(known)], spec.max_batch_size > 0, &shape);
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
  builder.header.model = spec.handle;
  builder.header.flags = sequence.flags;
  builder.header.correlation_id = sequence.id;
  builder.header.priority = header.priority;
  builder.header.timeout_us = header.timeout_us;
  builder.header.batch_size = draft.batch_size;
  builder.set_request_id(draft.request_id);
  builder.set_correlation_text(draft.correlation_text);
  for (const model::InputDraft& input : draft.inputs) {
    builder.add_input(input.name, static_cast<uint16_t>(input.index), input.datatype,
                      draft.dims(input.backend_shape), input.location);
  }
  for (const model::OutputDraft& output : draft.outputs)
    builder.add_output(output.name, static_cast<uint16_t>(output.index));
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
  const std::shared_ptr<const SequenceOverride> sequence = sequence_of(view);
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
  advance(run);
  if (final) wake_waiting(ensemble);
}

void Engine::set_values(Run* run, const OpenStep& open, std::vector<NamedValue>* outputs) {
  const EnsembleStep& step = run->request->model->ensemble->plan.steps[open.step];
  const model::ModelSpec& spec = *run->models[open.step];
  uint32_t scope = open.scope;
  if (spec.decoupled) {
    scope = static_cast<uint32_t>(run->scopes.size());
    Scope& made = run->scopes.emplace_back();
    made.values.resize(run->repeated.size());
    made.started.assign(run->models.size(), false);
  }
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
    run->scopes[scope].values[mapped->second] = std::move(output.value);
  }
}

// Sends the response of a scope, once, when all its requested outputs are there.
void Engine::answer_scope(Run* run, uint32_t scope) {
  if (run->scopes[scope].answered || run->repeats != (scope > 0)) return;
  const EnsemblePlan& plan = run->request->model->ensemble->plan;
  std::vector<NamedValue> outputs;
  for (const model::TensorSpec& output : run->spec->outputs) {
    const auto found = std::find(plan.tensors.begin(), plan.tensors.end(), output.name);
    if (found == plan.tensors.end()) continue;
    const auto tensor = static_cast<uint32_t>(found - plan.tensors.begin());
    if (!run->wanted[tensor]) continue;
    const Value& value = value_of(*run, scope, tensor);
    if (value.state != Value::State::kSet) return;
    NamedValue& one = outputs.emplace_back();
    one.name = output.name;
    one.value = value;
    fit_rank(output, run->spec->max_batch_size > 0, &one.value.shape);
  }
  const bool final = !run->spec->decoupled;
  run->scopes[scope].answered = run->answered = true;
  if (scope > 0) run->scopes[scope].values.assign(plan.tensors.size(), {});
  if (final) run->scopes[0].values.assign(plan.tensors.size(), {});
  Request* const request = run->request;
  if (request->run != nullptr) {
    if (final) request->answered = true;
    return take_answer(request, final, &outputs, {});
  }
  send_run_response(run, final, outputs);
}

void Engine::send_run_response(Run* run, bool final, const std::vector<NamedValue>& outputs) {
  Request* const request = run->request;
  Peer* const to = request->submitter;
  if (to == nullptr) return;
  shm::ResponseBuilder& builder = error_table_;
  builder.clear();
  std::vector<SourceRef> sources;
  std::vector<const Value*> values;
  for (const NamedValue& output : outputs) {
    values.push_back(&output.value);
    builder.add_output(output.name, static_cast<uint16_t>(run->spec->output_index(output.name)),
                       output.value.datatype, output.value.shape, output.value.location);
    if (output.value.source != nullptr &&
        std::find(sources.begin(), sources.end(), output.value.source) == sources.end()) {
      sources.push_back(output.value.source);
    }
  }
  // Triton tells of the sequence in every response of an ensemble.
  const StepSequence sequence = sequence_for(*run, values);
  if (sequence.text.empty()) {
    builder.add_parameter({"sequence_id", static_cast<int64_t>(sequence.id)});
  } else {
    builder.add_parameter({"sequence_id", sequence.text});
  }
  builder.add_parameter({"sequence_start", (sequence.flags & shm::kSequenceStart) != 0});
  builder.add_parameter({"sequence_end", (sequence.flags & shm::kSequenceEnd) != 0});
  shm::Reply reply;
  const std::span<const uint8_t> table = builder.finish();
  if (!place_table(table, &reply.table_offset, &reply.table_bytes)) {
    run->answered = false;
    return fail_run(run, base::Code::kUnavailable, "core has no memory left for the response");
  }
  if (final) keep_answer(request, table);
  reply.ticket = request->submitter_ticket;
  reply.owner = shm::kCorePeer;
  if (final) reply.flags = shm::kFinal;
  if (final && request->released) reply.flags |= shm::kReleasedFlag;
  if (final) request->answered = request->delivered = true;
  reply.lease = make_lease(nullptr, to, reply.table_offset);
  leases_[static_cast<uint32_t>(reply.lease)].sources = std::move(sources);
  send(to, shm::pack(reply));
}

void Engine::answer_run_error(Request* request, uint8_t code, const std::string& message) {
  request->delivered = true;
  if (request->run != nullptr) {
    return take_answer(request, true, nullptr,
                       base::Status(static_cast<base::Code>(code), message));
  }
  if (request->submitter == nullptr) return;
  const uint8_t released = request->released ? shm::kReleasedFlag : 0;
  send_error(request->submitter, request->submitter_ticket, static_cast<base::Code>(code), message,
             static_cast<uint8_t>(shm::kFinal | released));
}

void Engine::answer_run_empty(Request* request) {
  request->delivered = true;
  if (request->run != nullptr) return take_answer(request, true, nullptr, {});
  if (request->submitter == nullptr) return;
  shm::Reply reply;
  reply.flags = static_cast<uint8_t>(shm::kFinal | shm::kEmpty |
                                     (request->released ? shm::kReleasedFlag : 0));
  reply.ticket = request->submitter_ticket;
  send(request->submitter, shm::pack(reply));
}

}  // namespace pyserver::engine
