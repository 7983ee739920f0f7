// Making, answering and forgetting requests and batches.
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "engine/engine.h"

namespace pyserver::engine {

Request* Engine::make_request(Peer* submitter) {
  uint32_t slot = 0;
  if (free_slots_.empty()) {
    slot = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
    slots_.back().ticket = slot;
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
  }
  Request& request = slots_[slot];
  // The next generation: an answer to whoever had this slot before finds nobody.
  const uint64_t ticket = request.ticket + (uint64_t{1} << 32);
  request = Request{};
  request.ticket = ticket;
  request.live = true;
  request.submitter = submitter;
  ++counters_.live_requests;
  if (submitter == nullptr) return &request;
  request.peer_next = submitter->requests;
  if (submitter->requests != nullptr) submitter->requests->peer_previous = &request;
  submitter->requests = &request;
  return &request;
}

Request* Engine::find_request(uint64_t ticket) {
  const auto slot = static_cast<uint32_t>(ticket);
  if (slot >= slots_.size()) return nullptr;
  Request& request = slots_[slot];
  return request.live && request.ticket == ticket ? &request : nullptr;
}

void Engine::unlink_submitter(Request* request) {
  Peer* submitter = request->submitter;
  if (submitter == nullptr) return;
  if (request->peer_previous != nullptr) {
    request->peer_previous->peer_next = request->peer_next;
  } else {
    submitter->requests = request->peer_next;
  }
  if (request->peer_next != nullptr) request->peer_next->peer_previous = request->peer_previous;
  request->peer_next = request->peer_previous = nullptr;
  request->submitter = nullptr;
}

void Engine::leave_batch(Request* request) {
  if (request->batch == nullptr) return;
  auto& members = request->batch->requests;
  members[request->batch_index] = members.back();
  members[request->batch_index]->batch_index = request->batch_index;
  members.pop_back();
  request->batch = nullptr;
}

void Engine::forget_request(Request* request) {
  flight_over(request);
  unlink_submitter(request);
  leave_order(request);
  leave_batch(request);
  request->live = false;
  if (std::exchange(request->own_table, false)) own_memory_.free(request->table_offset);
  --counters_.live_requests;
  const std::vector<SourceRef> sources = std::move(request->sources);
  free_slots_.push_back(static_cast<uint32_t>(request->ticket));
}

// Takes a queued request out of its queue; what its policy gives up with it is in dropped_.
void Engine::dequeue(Request* request, uint64_t now_ns) {
  request->model->policy->remove(request, now_ns, &dropped_);
  request->model->queued_bytes -= request->payload_bytes;
  mark_dirty(request->model);
}

void Engine::drop(uint64_t now_ns, Counted counted) {
  if (dropped_.empty()) return;
  for (const sched::Dropped& dropped : std::exchange(dropped_, {})) {
    auto* request = static_cast<Request*>(dropped.request);
    request->model->queued_bytes -= request->payload_bytes;
    refuse(request, dropped.code,
           dropped.prefixed ? request_prefix(*request) + dropped.message : dropped.message, now_ns,
           counted);
  }
}

void Engine::let_go(Request* request) {
  request->let_go = true;
  if (request->null_requests == 0) request->released = true;
  Request* likeness = std::exchange(request->likeness, nullptr);
  if (likeness == nullptr || --likeness->null_requests > 0 || !likeness->let_go) return;
  likeness->released = true;
  tell_released(likeness);
  finish_if_over(likeness);
}

// Nobody reads the request's memory any more; a reply that has yet to go out will say so itself.
void Engine::tell_released(Request* request) {
  if (request->submitter == nullptr || (request->answered && !request->delivered)) return;
  shm::Released released;
  released.ticket = request->submitter_ticket;
  send(request->submitter, shm::pack(released));
}

void Engine::finish_if_over(Request* request) {
  if (!request->answered) return;
  Batch* batch = request->batch;
  if (request->released && request->delivered) forget_request(request);
  if (batch == nullptr) return;
  close_if_over(batch);
  erase_if_over(batch);
}

void Engine::answered(Request* request, bool error, uint64_t now_ns) {
  request->answered = true;
  count_answer(request, error, now_ns);
}

void Engine::count_answer(Request* request, bool error, uint64_t now_ns) {
  Batch* batch = request->batch;
  if (batch == nullptr) return;
  --batch->open;
  if (request->null_request) return;
  FinishedBatch& figures = batch->figures;
  const uint64_t took_ns = now_ns > request->enqueue_ns ? now_ns - request->enqueue_ns : 0;
  if (error) {
    ++figures.failures;
    figures.fail_ns += took_ns;
  } else {
    ++figures.successes;
    figures.successful_rows += request->rows();
    figures.success_ns += took_ns;
    figures.successful_enqueue_ns += request->enqueue_ns;
  }
}

void Engine::count_response(Request* request, const shm::Response& record, uint64_t now_ns) {
  if (request->batch == nullptr || request->warm_up != nullptr || request->null_request) return;
  const uint64_t since_ns =
      request->responses == 0 ? request->batch->dispatched_ns : request->last_response_ns;
  const uint64_t took_ns = now_ns > since_ns ? now_ns - since_ns : 0;
  request->last_response_ns = now_ns;
  const uint32_t index = request->responses++;
  if (index >= kMaxResponsesCounted) return;
  std::vector<ResponseStatistics>& counted = request->model->statistics.responses;
  if (counted.size() <= index) counted.resize(index + 1);
  ResponseStatistics& figures = counted[index];
  if ((record.flags & shm::kEmpty) != 0) return figures.empty_response.add(1, took_ns);
  if ((record.flags & shm::kError) != 0) {
    const bool cancelled = record.code == static_cast<uint8_t>(base::Code::kCancelled);
    return (cancelled ? figures.cancel : figures.fail).add(1, took_ns);
  }
  figures.compute_infer.add(1, took_ns);
  figures.compute_output.add(1, 0);
  figures.success.add(1, took_ns);
}

void Engine::close_if_over(Batch* batch) {
  if (!batch->done || batch->open > 0 || batch->closed) return;
  batch->closed = true;
  if (batch->warm_up != nullptr) {
    warmed_up(*batch);
  } else {
    account(batch->figures, base::wall_ms(), &batch->model->statistics);
    --batch->model->running;
    batch->model->last_use_ns = now_ns_;
  }
  --batch->instance->unclosed;
  if (batch->instance->leaving && batch->instance->unclosed == 0) {
    events_.push_back({Event::Kind::kIdle, batch->instance->id, {}});
  }
  check_drained(batch->model);
}

void Engine::erase_if_over(Batch* batch) {
  if (!batch->closed || !batch->requests.empty()) return;
  --counters_.live_batches;
  batch->instance->batches.erase(batch->id);
}

// Answers a request that never came to an instance, or that an instance gave back.
void Engine::refuse(Request* request, base::Code code, const std::string& message, uint64_t now_ns,
                    Counted counted) {
  ++counters_.refused;
  if (counted == Counted::kAsFailure) {
    const uint64_t took_ns =
        request->enqueue_ns != 0 && now_ns > request->enqueue_ns ? now_ns - request->enqueue_ns : 0;
    request->model->statistics.fail.add(1, took_ns);
  }
  flight_over(request);
  Model* const model = request->model;
  request->answered = true;
  request->released = true;
  deliver_error(request, code, message, shm::kFinal);
  finish_if_over(request);
  check_drained(model);
}

void Engine::send_error(Peer* to, uint64_t ticket, base::Code code, const std::string& message,
                        uint8_t flags) {
  error_table_.clear();
  error_table_.set_message(message);
  const std::span<const uint8_t> table = error_table_.finish();
  shm::Reply reply;
  reply.flags = static_cast<uint8_t>(flags | shm::kError);
  reply.code = static_cast<uint8_t>(code);
  reply.ticket = ticket;
  reply.owner = shm::kCorePeer;
  // Without room for the text the code alone has to do: an answer without words beats a client that waits.
  if (const std::optional<uint64_t> place = own_memory_.allocate(table.size()); place) {
    std::memcpy(own_region_.data() + *place, table.data(), table.size());
    reply.table_offset = *place;
    reply.table_bytes = static_cast<uint32_t>(table.size());
    reply.lease = make_lease(nullptr, to, *place);
  }
  send(to, shm::pack(reply));
}

std::string Engine::request_prefix(const Request& request) const {
  if (request.warm_up != nullptr) return {};  // nobody's client would know it
  std::string id;
  if (request.submitter != nullptr || request.own_table) {
    const shm::Mapping& region = request.own_table ? own_region_ : request.submitter->region;
    shm::RequestView view;
    if (region.contains(request.table_offset, request.table_bytes) &&
        view.parse({region.data() + request.table_offset, request.table_bytes}).ok()) {
      id = view.request_id();
    }
  }
  return "[request id: " + (id.empty() ? std::string("<id_unknown>") : id) + "] ";
}

}  // namespace pyserver::engine
