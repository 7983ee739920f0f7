// Inference requests from core's Reply to the end.
#include "gateway/infer.h"

namespace pyserver::gateway {

void InferService::on_record(const shm::Record& record) {
  if (record.kind == shm::Kind::kReply) {
    const auto reply = shm::unpack<shm::Reply>(record);
    if (InferExchange* const exchange = find(reply.ticket)) {
      exchange->on_reply(reply);
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
  InferExchange* exchange = nullptr;
  if (record.kind == shm::Kind::kReleased)
    exchange = find(shm::unpack<shm::Released>(record).ticket);
  if (exchange != nullptr) {
    exchange->on_released();
  } else {
    ++host_->counters.bad_replies;
  }
}

void InferService::on_core_lost() {
  for (InferExchange& exchange : slots_) {
    if (exchange.live()) exchange.on_core_lost();
  }
}

void InferExchange::on_reply(const shm::Reply& reply) {
  if (final_ || !submitted_) {
    ++service_->host_->counters.bad_replies;
    return;
  }
  if ((reply.flags & shm::kFinal) != 0) final_ = true;
  if ((reply.flags & shm::kReleasedFlag) != 0) released_ = true;
  if ((reply.flags & shm::kEmpty) == 0) take_response(reply);
  if (connection_ == nullptr) {
    return_lease();
    settle();
  } else if (final_ && !answering_) {
    answer();
  }
}

// Keeps the first response; what follows it only counts.
void InferExchange::take_response(const shm::Reply& reply) {
  ++response_count_;
  if (response_count_ > 1 || connection_ == nullptr) {
    const uint64_t kept = std::exchange(lease_, reply.lease);
    return_lease();
    lease_ = kept;
    return;
  }
  lease_ = reply.lease;
  const shm::Mapping* const region = region_of(reply.owner);
  if (region == nullptr || !region->contains(reply.table_offset, reply.table_bytes)) {
    ++service_->host_->counters.bad_replies;
    error_ = base::unavailable("the response of model '" + spec_->name +
                               "' is no longer there: its process ended");
    return;
  }
  base::Status status = response_.parse({region->data() + reply.table_offset, reply.table_bytes});
  if (!status.ok()) {
    ++service_->host_->counters.bad_replies;
    error_ = std::move(status);
  } else if ((reply.flags & shm::kError) != 0) {
    const auto code =
        reply.code <= base::kMaxCode ? static_cast<base::Code>(reply.code) : base::Code::kInternal;
    error_ = base::Status(code, std::string(response_.message()));
  }
}

void InferExchange::on_released() {
  released_ = true;
  if (connection_ == nullptr) settle();
}

void InferExchange::answer() {
  if (error_.ok() && response_count_ != 1) {
    error_ =
        base::internal_error("expected a single response, got " + std::to_string(response_count_));
  }
  if (error_.ok()) error_ = protocol::encode(*spec_, request_, response_, find_, &encoded_);
  if (!error_.ok()) {
    refuse(error_);
    return;
  }
  send_answer();
}

void InferExchange::send_answer() {
  answering_ = true;
  if (answer_encoding_ != Encoding::kIdentity) {
    start_compressing();
    return;
  }
  parts_.clear();
  parts_.push_back({encoded_.json.data(), encoded_.json.size()});
  for (const std::span<const uint8_t> blob : encoded_.binary) {
    if (blob.empty()) continue;
    parts_.push_back({const_cast<uint8_t*>(blob.data()), blob.size()});  // writev only reads it
  }
  reply(encoded_.json.size() + encoded_.binary_bytes);
}

// Sends parts_, which are `bytes` in all. done() may have been called when this returns.
void InferExchange::reply(uint64_t bytes) {
  ReplyHead head;
  head.content_type = encoded_.octet_stream ? kOctets : kJson;
  if (encoded_.octet_stream) head.inference_header_length = encoded_.json.size();
  head.content_encoding = encoding_name(answer_encoding_);
  head.content_length = bytes;
  service_->host_->counters.response_bytes += bytes;
  connection_->reply(head, parts_);
}

void InferExchange::done() { let_go(); }

void InferExchange::abandoned() {
  cancel();
  let_go();
}

void InferExchange::client_left() {
  cancel();
  if (!waits()) return;
  leave();
  ++service_->host_->counters.cancelled;
  refuse(base::cancelled("Request cancelled"));
}

void InferExchange::cancel() {
  if (!submitted_ || final_ || cancelled_) return;
  cancelled_ = true;
  ++service_->host_->counters.cancelled;
  shm::Cancel record;
  record.ticket = ticket_;
  session_->send(record);
}

// The client has its answer, or is gone.
void InferExchange::let_go() {
  leave();
  connection_ = nullptr;
  return_lease();
  settle();
}

void InferExchange::return_lease() {
  if (lease_ == 0) return;
  shm::Return record;
  record.lease = std::exchange(lease_, 0);
  session_->send(record);
}

// Core is gone, and with it everybody who could answer or read our memory.
void InferExchange::on_core_lost() {
  lease_ = 0;
  if (!submitted_) return;  // body_complete() will see it, or the waiting room has told it
  const bool waiting = connection_ != nullptr && !answering_;
  final_ = true;
  released_ = true;
  if (waiting) {
    refuse(base::unavailable("the server's core process ended while the request was in flight"));
  } else if (connection_ == nullptr) {
    settle();
  }
}

// Gives everything back when nobody needs it any more.
void InferExchange::settle() {
  if (!live_ || connection_ != nullptr || (submitted_ && !(final_ && released_))) return;
  live_ = false;
  service_->host_->loop.forget(this);
  deflater_.reset();
  if (table_) session_->allocator.free(*table_);
  for (const uint64_t block : request_.blocks) session_->allocator.free(block);
  body_.clear();
  request_.clear();
  encoded_.clear();
  held_.clear();
  parts_.clear();
  header_length_.reset();
  table_.reset();
  spec_.reset();
  model_.clear();
  version_.clear();
  session_.reset();
  error_ = {};
  // One large answer must not keep its buffers for ever.
  constexpr size_t kKeptBytes = 1u << 20;
  if (encoded_.json.capacity() > kKeptBytes) encoded_.json = {};
  if (compressed_.capacity() > kKeptBytes) compressed_ = {};
  submitted_ = cancelled_ = final_ = released_ = answering_ = false;
  response_count_ = 0;
  service_->return_slot(slot_);
}

const shm::Mapping* InferExchange::region_of(uint32_t peer) {
  if (peer == session_->peer) return &session_->region;
  for (const auto& [holder, region] : held_) {
    if (holder == peer) return region.get();
  }
  shm::RegionRef region = session_->peers.find(peer);
  if (region == nullptr) return nullptr;
  held_.emplace_back(peer, std::move(region));
  return held_.back().second.get();
}

std::optional<std::span<const uint8_t>> InferExchange::find_bytes(const shm::TensorEntry& entry) {
  if (entry.place != shm::Place::kRegion) return std::nullopt;
  const shm::Mapping* const region = region_of(entry.region);
  if (region == nullptr) return std::nullopt;
  return shm::bytes_at(*region, entry.offset, entry.byte_size);
}

}  // namespace pyserver::gateway
