// The ensemble's own answers: one for each scope that has all it needs, an error, or the end of a decoupled one.
#include <algorithm>
#include <utility>

#include "engine/engine.h"
#include "model/shapes.h"

namespace pyserver::engine {

namespace {

// Triton tells of the sequence in every response of an ensemble that has outputs.
void add_sequence(const StepSequence& sequence, shm::ResponseBuilder* builder) {
  if (sequence.text.empty()) {
    builder->add_parameter({"sequence_id", static_cast<int64_t>(sequence.id)});
  } else {
    builder->add_parameter({"sequence_id", sequence.text});
  }
  builder->add_parameter({"sequence_start", (sequence.flags & shm::kSequenceStart) != 0});
  builder->add_parameter({"sequence_end", (sequence.flags & shm::kSequenceEnd) != 0});
}

}  // namespace

// Sends the response of a scope, once, when all its requested outputs are there.
void Engine::answer_scope(Run* run, uint32_t scope) {
  if (run->scopes.at(scope).answered || run->repeats != (scope > 0)) return;
  const EnsemblePlan& plan = run->request->model->ensemble->plan;
  std::vector<NamedValue> outputs;
  for (const model::TensorSpec& output : run->spec->outputs) {
    const auto found = std::find(plan.tensors.begin(), plan.tensors.end(), output.name);
    if (found == plan.tensors.end()) continue;
    const auto tensor = static_cast<uint32_t>(found - plan.tensors.begin());
    if (!run->wanted[tensor]) continue;
    const Value& value = value_of(*run, scope, tensor);
    if (value.state == Value::State::kPending) return;
    if (value.state == Value::State::kAbsent) continue;
    NamedValue& one = outputs.emplace_back();
    one.name = output.name;
    one.value = value;
    model::fit_rank(output, run->spec->max_batch_size > 0, &one.value.shape);
  }
  const bool final = !run->spec->decoupled;
  Scope& answered = run->scopes.at(scope);
  answered.answered = run->answered = true;
  if (scope > 0 || final) answered.values.assign(plan.tensors.size(), {});
  if (!final && outputs.empty()) return;
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
  SequenceRef given;
  for (const NamedValue& output : outputs) {
    given = combine(given, output.value.sequence);
    builder.add_output(output.name, static_cast<uint16_t>(run->spec->output_index(output.name)),
                       output.value.datatype, output.value.shape, output.value.location);
    if (output.value.source != nullptr &&
        std::find(sources.begin(), sources.end(), output.value.source) == sources.end()) {
      sources.push_back(output.value.source);
    }
  }
  if (!outputs.empty()) add_sequence(sequence_for(run->table, given), &builder);
  shm::Reply reply;
  const std::span<const uint8_t> table = builder.finish();
  if (!place_table(table, &reply.table_offset, &reply.table_bytes)) {
    run->answered = false;
    return fail_run(run, base::Code::kUnavailable, "core has no memory left for the response");
  }
  if (final && !outputs.empty()) keep_answer(request, table);
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
