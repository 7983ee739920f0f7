// Requests from their message to the Submit, and from core's records to whoever waits.
#include "gateway/h2/infer_request.h"

#include <cstring>
#include <utility>

namespace pyserver::gateway::h2 {

namespace {

// As over HTTP: (sequence, slot), never the same twice.
constexpr int kSlotBits = 20;
constexpr uint64_t kSlotMask = (uint64_t{1} << kSlotBits) - 1;
constexpr uint64_t kSequenceMask = (uint64_t{1} << (63 - kSlotBits)) - 1;

}  // namespace

InferRequest::~InferRequest() {
  if (table_) session->allocator.free(*table_);
  for (const uint64_t block : decoded.blocks) session->allocator.free(block);
  body.clear();
}

base::Status InferRequests::identify(InferRequest* request) {
  protocol::grpc::RequestHead head;
  base::Status status = request->body.complete();
  if (!status.ok()) return status;
  const uint8_t* const bytes = request->session->region.data() + request->body.offset();
  request->whole_ = true;
  status = protocol::grpc::peek({bytes, request->body.size()}, &head);
  if (!status.ok()) return status;
  request->model_name = head.model_name;
  request->model_version = head.model_version;
  request->id = head.id;
  return find_model(request);
}

base::Status InferRequests::find_model(InferRequest* request) {
  base::Status status = catalog_->find(request->model_name, request->model_version, &request->spec);
  if (!waiting_room_->may_wait(status, request->model_name)) return status;
  return waiting_room_->enter(request, request->model_name, request->body.capacity());
}

base::Status InferRequests::refusal(const InferRequest& request, base::Status status) const {
  if (!request.whole_) return status;
  const uint8_t* const bytes = request.session->region.data() + request.body.offset();
  base::Status formed = protocol::grpc::well_formed({bytes, request.body.size()});
  return formed.ok() ? std::move(status) : std::move(formed);
}

base::Status InferRequests::submit(const InferRef& request) {
  CoreSession& session = *request->session;
  if (session.lost) return base::unavailable("the server's core process ended; try again shortly");
  base::Status status = decode(request);
  if (!status.ok()) return status;
  const protocol::OwnMemory memory{session.peer, &session.region, &session.allocator};
  const std::span<const uint8_t> table = protocol::finish_table(*request->spec, memory, &table_);
  request->table_ = session.allocator.allocate(table.size());
  if (!request->table_) return region_full(session, table.size());
  status = enter(request);
  if (!status.ok()) return status;
  std::memcpy(session.region.data() + *request->table_, table.data(), table.size());
  shm::Submit record;
  record.flags = request->decoded.flags;
  record.model = request->spec->handle;
  record.ticket = request->ticket_;
  record.table_offset = *request->table_;
  record.table_bytes = static_cast<uint32_t>(table.size());
  record.batch_size = request->decoded.batch_size;
  record.signature = request->decoded.signature;
  record.timeout_us = request->decoded.timeout_us;
  record.payload_bytes = request->decoded.payload_bytes;
  record.priority = request->decoded.priority;
  request->submitted_ = true;
  ++host_->counters.infer_requests;
  session.send(record);
  return {};
}

// Leaves the table in `table_`.
base::Status InferRequests::decode(const InferRef& request) {
  CoreSession& session = *request->session;
  protocol::grpc::MessageView view;
  view.offset = request->body.offset();
  view.byte_size = request->body.size();
  const protocol::OwnMemory memory{session.peer, &session.region, &session.allocator};
  table_.clear();
  std::swap(table_, request->decoded.table);
  base::Status status = decoder_.decode(*request->spec, view, memory, &request->decoded);
  std::swap(table_, request->decoded.table);
  return status;
}

base::Status InferRequests::enter(const InferRef& request) {
  if (free_.empty()) {
    if (slots_.size() >= host_->settings.max_inflight || slots_.size() > kSlotMask) {
      return base::unavailable("too many requests are in flight: the limit of this frontend is " +
                               std::to_string(host_->settings.max_inflight));
    }
    free_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const uint32_t slot = free_.back();
  free_.pop_back();
  request->ticket_ = kMark | (++sequence_ & kSequenceMask) << kSlotBits | slot;
  slots_[slot] = request;
  ++host_->counters.inflight;
  return {};
}

InferRef InferRequests::find(uint64_t ticket) const {
  const uint64_t slot = ticket & kSlotMask;
  if (slot >= slots_.size() || slots_[slot] == nullptr || slots_[slot]->ticket_ != ticket)
    return nullptr;
  return slots_[slot];
}

void InferRequests::abandon(InferRequest* request) {
  request->owner = nullptr;
  request->leave();
  if (!request->submitted_ || request->final_ || request->cancelled_) return;
  request->cancelled_ = true;
  ++host_->counters.cancelled;
  shm::Cancel record;
  record.ticket = request->ticket_;
  request->session->send(record);
}

void InferRequests::on_record(const shm::Record& record) {
  if (record.kind == shm::Kind::kReply) {
    const auto reply = shm::unpack<shm::Reply>(record);
    const InferRef request = find(reply.ticket);
    if (request != nullptr && !request->final_) {
      on_reply(request, reply);
      return;
    }
    ++host_->counters.bad_replies;
    if (reply.lease != 0 && link_->session() != nullptr) {
      shm::Return back;
      back.lease = reply.lease;
      link_->session()->send(back);
    }
    return;
  }
  if (const InferRef request = find(shm::unpack<shm::Released>(record).ticket)) {
    request->released_ = true;
    settle(request);
  } else {
    ++host_->counters.bad_replies;
  }
}

void InferRequests::on_reply(const InferRef& request, const shm::Reply& reply) {
  if ((reply.flags & shm::kFinal) != 0) request->final_ = true;
  if ((reply.flags & shm::kReleasedFlag) != 0) request->released_ = true;
  std::shared_ptr<InferResponse> response;
  base::Status status;
  if ((reply.flags & shm::kEmpty) == 0) {
    response = std::make_shared<InferResponse>(request->session);
    status = response->read(reply, *request->spec, &host_->counters);
    if (!status.ok()) response.reset();
  }
  if (request->owner != nullptr) {
    request->owner->on_response(request.get(), std::move(response), std::move(status),
                                request->final_);
  }
  settle(request);
}

void InferRequests::settle(const InferRef& request) {
  if (!request->final_ || !request->released_) return;
  const auto slot = static_cast<uint32_t>(request->ticket_ & kSlotMask);
  if (slots_[slot] != request) return;
  slots_[slot].reset();
  free_.push_back(slot);
  --host_->counters.inflight;
}

void InferRequests::on_core_lost() {
  const std::vector<InferRef> all = slots_;
  for (const InferRef& request : all) {
    if (request == nullptr) continue;
    const bool waiting = !request->final_ && request->owner != nullptr;
    request->final_ = request->released_ = true;
    if (waiting) {
      request->owner->on_response(
          request.get(), nullptr,
          base::unavailable("the server's core process ended while the request was in flight"),
          true);
    }
    settle(request);
  }
}

}  // namespace pyserver::gateway::h2
