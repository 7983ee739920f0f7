// What each kind of record does. Every number in a record comes from another process and is checked before it is used.
#include "engine/engine.h"

namespace pyserver::engine {

void Engine::violation(Peer* from, const char* what) {
  ++counters_.violations;
  if (from->broken) return;
  from->broken = true;
  events_.push_back({Event::Kind::kBroken, from->id, what});
}

void Engine::handle(Peer* from, const shm::Record& record, uint64_t now_ns) {
  switch (record.kind) {
    case shm::Kind::kSubmit:
      return submit(from, shm::unpack<shm::Submit>(record), now_ns);
    case shm::Kind::kCancel:
      return cancel(from, shm::unpack<shm::Cancel>(record), now_ns);
    case shm::Kind::kReturn:
      return give_back(from, shm::unpack<shm::Return>(record));
    case shm::Kind::kResponse:
      return respond(from, shm::unpack<shm::Response>(record), now_ns);
    case shm::Kind::kRelease:
      return release(from, shm::unpack<shm::Release>(record), now_ns);
    case shm::Kind::kBatchDone:
      return batch_done(from, shm::unpack<shm::BatchDone>(record), now_ns);
    default:
      return violation(from, "it sent a record of unknown kind");
  }
}

void Engine::submit(Peer* from, const shm::Submit& record, uint64_t now_ns) {
  ++counters_.submitted;
  if (!from->region.contains(record.table_offset, record.table_bytes)) {
    violation(from, "it submitted a table outside its region");
    return send_error(from, record.ticket, base::Code::kInternal,
                      "the request's table lies outside its region",
                      shm::kFinal | shm::kReleasedFlag);
  }
  const auto found = models_.find(record.model);
  if (found == models_.end() || !found->second->accepting) {
    ++counters_.refused;
    const std::string message =
        found == models_.end()
            ? std::string("the model was unloaded while the request was on its way")
            : "Request for unknown model: '" + found->second->settings.name + "' version " +
                  std::to_string(found->second->settings.version) + " is not at ready state";
    return send_error(from, record.ticket, base::Code::kUnavailable, message,
                      shm::kFinal | shm::kReleasedFlag);
  }
  Model* model = found->second.get();
  Request* request = make_request(from);
  request->submitter_ticket = record.ticket;
  request->table_offset = record.table_offset;
  request->table_bytes = record.table_bytes;
  request->flags = record.flags & (shm::kSequenceStart | shm::kSequenceEnd);
  request->model = model;
  request->batch_size = record.batch_size;
  request->signature = record.signature;
  request->timeout_us = record.timeout_us;
  request->priority = record.priority;
  request->payload_bytes = record.payload_bytes;
  const std::span<const uint8_t> table{from->region.data() + record.table_offset,
                                       record.table_bytes};
  if (from->model != nullptr) {
    from->model->calls = true;
    request->parent = shm::read_parent(table);
  }
  const uint64_t ticket = request->ticket;
  enqueue(request, table, now_ns);
  if (from->model != nullptr) refuse_circle(ticket, now_ns);  // only a call can close one
}

// Answers a request from the cache, hands it to its model's policy, or begins an ensemble's run.
void Engine::enqueue(Request* request, std::span<const uint8_t> table, uint64_t now_ns) {
  Model* const model = request->model;
  request->enqueue_ns = model->last_use_ns = now_ns;
  if (model->ensemble == nullptr && model->settings.preserve_ordering) enter_order(request);
  if (model->policy->queued() + model->waiting_for_cache >= model->settings.max_queued_requests ||
      request->payload_bytes > model->settings.max_queued_bytes - model->queued_bytes) {
    return refuse(request, base::Code::kUnavailable,
                  request_prefix(*request) + "Exceeds maximum queue size", now_ns, Counted::kNo);
  }
  if (!ask_cache(request, table)) queue(request, table, now_ns);
}

void Engine::queue(Request* request, std::span<const uint8_t> table, uint64_t now_ns) {
  Model* const model = request->model;
  if (model->ensemble != nullptr) {
    if (!model->policy->too_late(request, &dropped_)) return start_run(request, table);
    model->queued_bytes += request->payload_bytes;
    return drop(now_ns, Counted::kNo);
  }
  if (model->policy->binds_instances()) {
    shm::read_correlation(table, &request->correlation_id, &request->correlation_text);
  }
  model->queued_bytes += request->payload_bytes;
  model->policy->add(request, now_ns, &dropped_);
  drop(now_ns, Counted::kNo);
  mark_dirty(model);
}

void Engine::cancel(Peer* from, const shm::Cancel& record, uint64_t now_ns) {
  // Rare, and a peer has few requests in flight: a walk is cheaper than keeping an index for every request.
  Request* request = from->requests;
  while (request != nullptr && request->submitter_ticket != record.ticket)
    request = request->peer_next;
  if (request == nullptr) return;  // answered meanwhile
  if (request->queued) {
    dequeue(request, now_ns);
    refuse(request, base::Code::kCancelled, request_prefix(*request) + "Request cancelled", now_ns);
    drop(now_ns);
  } else if (request->waits_for_cache) {
    leave_flight(request);
    refuse(request, base::Code::kCancelled, request_prefix(*request) + "Request cancelled", now_ns);
  } else if (request->led != nullptr) {
    cancel_run(request->led.get());
  } else if (request->instance != nullptr && !request->answered) {
    request->cancelled = true;
    shm::Cancelled cancelled;
    cancelled.ticket = request->ticket;
    send(request->instance, shm::pack(cancelled));
  }
}

void Engine::give_back(Peer* from, const shm::Return& record) {
  const auto slot = static_cast<uint32_t>(record.lease);
  const auto generation = static_cast<uint32_t>(record.lease >> 32);
  if (slot == 0 || slot >= leases_.size() || leases_[slot].generation != generation ||
      leases_[slot].holder != from) {
    return violation(from, "it returned a lease that it does not hold");
  }
  end_lease(slot);
}

void Engine::respond(Peer* from, const shm::Response& record, uint64_t now_ns) {
  Request* request = find_request(record.ticket);
  if (request == nullptr || request->instance != from || request->answered) {
    return violation(from, "it answered a request that it does not have");
  }
  const bool empty = (record.flags & shm::kEmpty) != 0;
  if ((!empty && !from->region.contains(record.table_offset, record.table_bytes)) ||
      record.code > base::kMaxCode) {
    violation(from, "it answered with a table outside its region");
    if ((record.flags & shm::kReleasedFlag) != 0) let_go(request);
    flight_over(request);
    answered(request, true, now_ns);
    deliver_error(request, base::Code::kInternal,
                  "the instance answered with a table outside its region", shm::kFinal);
    return finish_if_over(request);
  }
  if ((record.flags & shm::kReleasedFlag) != 0) let_go(request);
  if (request->cache_role != CacheRole::kNone) {
    // One response that is all of the answer; of several none is kept.
    if (record.flags == (record.flags & (shm::kFinal | shm::kReleasedFlag)) &&
        (record.flags & shm::kFinal) != 0) {
      keep_answer(request, {from->region.data() + record.table_offset, record.table_bytes});
    }
    flight_over(request);
  }
  request->has_responded = true;
  if (request->model->settings.decoupled) count_response(request, record, now_ns);
  if ((record.flags & shm::kFinal) != 0)
    answered(request, (record.flags & shm::kError) != 0, now_ns);
  deliver(request, {from, record, {}, nullptr});
  finish_if_over(request);
}

void Engine::release(Peer* from, const shm::Release& record, uint64_t now_ns) {
  Request* request = find_request(record.ticket);
  if (request == nullptr || request->instance != from) {
    return violation(from, "it released a request that it does not have");
  }
  if ((record.flags & shm::kReschedule) != 0) return reschedule(request, now_ns);
  if (request->let_go) return;
  let_go(request);
  if (request->released) tell_released(request);
  finish_if_over(request);
}

// The instance gives the request back unanswered, to have it once more (iterative sequences).
void Engine::reschedule(Request* request, uint64_t now_ns) {
  if (request->answered) {
    return violation(request->instance, "it asked to run a request again that it had answered");
  }
  // The model took it for a real one, or for one that goes on; it is over all the same.
  if (request->null_request || request->warm_up != nullptr) {
    let_go(request);
    answered(request, false, now_ns);
    request->delivered = true;
    return finish_if_over(request);
  }
  count_answer(request, false, now_ns);
  Batch* const batch = request->batch;
  leave_batch(request);
  close_if_over(batch);
  erase_if_over(batch);
  request->instance = nullptr;
  if ((request->submitter == nullptr && request->run == nullptr) || request->cancelled) {
    refuse(request, base::Code::kCancelled, request_prefix(*request) + "Request cancelled", now_ns);
    return;
  }
  request->model->queued_bytes += request->payload_bytes;
  request->model->policy->requeue(request, now_ns, &dropped_);
  drop(now_ns);
  mark_dirty(request->model);
}

void Engine::batch_done(Peer* from, const shm::BatchDone& record, uint64_t now_ns) {
  const auto found = from->batches.find(record.batch);
  if (found == from->batches.end() || found->second->done) {
    return violation(from, "it finished a batch that it does not have");
  }
  Batch* batch = found->second.get();
  batch->done = true;
  --from->executing;
  from->executing_since_ns = now_ns;
  if (from->seat != nullptr) {
    limiter_->release(from->seat);
    if (from->leaving) leave_seat(from);
  }
  FinishedBatch& figures = batch->figures;
  figures.executed = true;
  figures.compute_start_ns = record.compute_start_ns;
  figures.compute_input_end_ns = record.compute_input_end_ns;
  figures.compute_output_start_ns = record.compute_output_start_ns;
  figures.compute_end_ns = record.compute_end_ns;
  Model* model = batch->model;
  const uint64_t took_ns = record.compute_end_ns > record.compute_start_ns
                               ? record.compute_end_ns - record.compute_start_ns
                               : 0;
  if (batch->warm_up == nullptr) {  // what comes first takes longer
    model->execution_ns =
        model->execution_ns == 0 ? took_ns : (model->execution_ns * 7 + took_ns) / 8;
  }
  if (!batch->sequences.empty()) model->policy->batch_over(from->id, batch->sequences, now_ns);
  mark_dirty(model);
  close_if_over(batch);
  erase_if_over(batch);
}

}  // namespace pyserver::engine
