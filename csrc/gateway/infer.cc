// Inference requests from their head to the Submit.
#include "gateway/infer.h"

#include <charconv>
#include <cstring>

namespace pyserver::gateway {

namespace {

// A ticket is (sequence, slot): found without a search, and never the same twice.
constexpr int kSlotBits = 20;
constexpr uint64_t kSlotMask = (uint64_t{1} << kSlotBits) - 1;

uint64_t json_bytes_of(const RequestHead& head) {
  uint64_t number = 0;
  if (!head.inference_header_length) return 0;
  const std::string_view text = *head.inference_header_length;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
  return result.ec == std::errc() ? number : 0;  // only for the alignment; decode() judges it
}

std::string too_large(uint64_t bytes, uint64_t limit) {
  return "request JSON size of " + std::to_string(bytes) +
         " bytes exceeds the maximum allowed input size of " + std::to_string(limit) +
         " bytes. Use --http-max-input-size to increase the limit.";
}

void refuse_with(const base::Status& status, Refusal* refusal) {
  *refusal = {
      base::http_status(status.code()), kJson, protocol::error_body(status.message()), {}, false};
}

}  // namespace

InferExchange::InferExchange(InferService* service, uint32_t slot)
    : service_(service),
      slot_(slot),
      find_([this](const shm::TensorEntry& entry) { return find_bytes(entry); }) {}

// Triton's order: model and version, decoupled, encoding, lengths.
Exchange* InferService::begin(Connection* connection, const RequestHead& head, const Route& route,
                              Refusal* refusal) {
  std::shared_ptr<const model::ModelSpec> spec;
  base::Status status = find_model(route.model, route.version, &spec);
  if (waiting_room_->may_wait(status, route.model)) status = {};
  const Encoding encoding = parse_encoding(head.content_encoding);
  if (status.ok() && encoding == Encoding::kUnsupported) {
    ++host_->counters.infer_refused;
    refuse_with(base::unsupported("Unsupported compression type"), refusal);
    refusal->accept_encoding = "gzip, deflate";
    return nullptr;
  }
  const uint64_t limit = host_->settings.max_input_bytes;
  if (status.ok() && !head.inference_header_length && head.content_length > limit) {
    status = base::invalid_argument(too_large(head.content_length, limit));
  }
  uint64_t ticket = 0;
  InferExchange* exchange = nullptr;
  if (status.ok()) {
    exchange = take_slot(&ticket);
    status =
        exchange != nullptr
            ? exchange->start(connection, head, route, std::move(spec), encoding, link_->session(),
                              ticket)
            : base::unavailable("too many requests are in flight: the limit of this frontend is " +
                                std::to_string(host_->settings.max_inflight));
  }
  if (status.ok()) return exchange;
  ++host_->counters.infer_refused;
  if (exchange != nullptr) exchange->let_go();
  refuse_with(status, refusal);
  // A body that is too large to be worth reading ends the connection instead.
  constexpr uint64_t kWorthReading = 64u << 20;
  refusal->now = head.content_length > kWorthReading;
  return nullptr;
}

base::Status InferService::find_model(std::string_view name, std::string_view version,
                                      std::shared_ptr<const model::ModelSpec>* spec) const {
  base::Status status = catalog_->find(name, version, spec);
  if (status.ok() && (*spec)->decoupled) {
    status = base::unsupported(
        "HTTP end point doesn't support models with decoupled transaction policy");
  }
  return status;
}

InferExchange* InferService::take_slot(uint64_t* ticket) {
  if (free_.empty()) {
    if (slots_.size() >= host_->settings.max_inflight || slots_.size() > kSlotMask) return nullptr;
    free_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back(this, free_.back());
  }
  const uint32_t slot = free_.back();
  free_.pop_back();
  *ticket = ++sequence_ << kSlotBits | slot;
  ++host_->counters.inflight;
  return &slots_[slot];
}

void InferService::return_slot(uint32_t slot) {
  free_.push_back(slot);
  --host_->counters.inflight;
}

InferExchange* InferService::find(uint64_t ticket) {
  const uint64_t slot = ticket & kSlotMask;
  if (slot >= slots_.size()) return nullptr;
  InferExchange* const exchange = &slots_[slot];
  return exchange->live() && exchange->ticket() == ticket ? exchange : nullptr;
}

base::Status InferExchange::start(Connection* connection, const RequestHead& head,
                                  const Route& route, std::shared_ptr<const model::ModelSpec> spec,
                                  Encoding encoding, const SessionRef& session, uint64_t ticket) {
  connection_ = connection;
  ticket_ = ticket;
  live_ = true;
  session_ = session;
  spec_ = std::move(spec);
  model_ = route.model;
  version_ = route.version;
  epoch_ = spec_ != nullptr ? service_->catalog_->epoch() : 0;
  answer_encoding_ = choose_encoding(head.accept_encoding);
  if (head.inference_header_length) header_length_.emplace(*head.inference_header_length);
  if (encoding == Encoding::kIdentity && !head.chunked) {
    return body_.begin_exact(session_, head.content_length, json_bytes_of(head));
  }
  const GatewaySettings& settings = service_->host_->settings;
  const bool json_only = !head.inference_header_length;
  const uint64_t limit = encoding == Encoding::kIdentity && !json_only ? session_->region.size()
                                                                       : settings.max_input_bytes;
  body_.begin_growing(session_, encoding, json_bytes_of(head), limit);
  return {};
}

void InferExchange::take(std::span<const uint8_t> bytes) {
  const base::Status status = body_.take(bytes, &service_->host_->counters.copied_bytes);
  if (!status.ok()) refuse(status);
}

void InferExchange::body_complete() {
  base::Status status = body_.complete();
  if (session_->lost)
    status = base::unavailable("the server's core process ended; try again shortly");
  // A body may be long under way: what its model was then may have been unloaded.
  if (status.ok() && epoch_ != service_->catalog_->epoch()) status = find_model();
  if (!waits()) go_on(std::move(status));
}

void InferExchange::called(base::Status status) {
  if (status.ok()) status = find_model();
  if (!waits()) go_on(std::move(status));
}

// Sets `spec_`, or begins to wait, or refuses.
base::Status InferExchange::find_model() {
  base::Status status = service_->find_model(model_, version_, &spec_);
  if (!service_->waiting_room_->may_wait(status, model_)) return status;
  return service_->waiting_room_->enter(this, model_, body_.capacity());
}

void InferExchange::go_on(base::Status status) {
  if (status.ok()) status = submit();
  if (!status.ok()) refuse(status);
}

base::Status InferExchange::submit() {
  protocol::BodyView view;
  view.offset = body_.offset();
  view.byte_size = body_.size();
  view.capacity = body_.capacity();
  if (header_length_) view.header_length = *header_length_;
  view.max_input_bytes = service_->host_->settings.max_input_bytes;
  const protocol::OwnMemory memory{session_->peer, &session_->region, &session_->allocator};
  base::Status status = service_->decoder_.decode(*spec_, view, memory, &request_);
  if (!status.ok()) return status;
  const std::span<const uint8_t> table = protocol::finish_table(*spec_, memory, &request_.table);
  table_ = session_->allocator.allocate(table.size());
  if (!table_) return region_full(*session_, table.size());
  std::memcpy(session_->region.data() + *table_, table.data(), table.size());
  shm::Submit record;
  record.flags = request_.flags;
  record.model = spec_->handle;
  record.ticket = ticket_;
  record.table_offset = *table_;
  record.table_bytes = static_cast<uint32_t>(table.size());
  record.batch_size = request_.batch_size;
  record.signature = request_.signature;
  record.timeout_us = request_.timeout_us;
  record.payload_bytes = request_.payload_bytes;
  record.priority = request_.priority;
  submitted_ = true;
  ++service_->host_->counters.infer_requests;
  session_->send(record);
  return {};
}

// Only before the Submit, or in place of an answer. The exchange may be gone afterwards.
void InferExchange::refuse(const base::Status& status) {
  if (!submitted_) ++service_->host_->counters.infer_refused;
  answering_ = true;
  connection_->refuse(base::http_status(status.code()), protocol::error_body(status.message()));
}

}  // namespace pyserver::gateway
