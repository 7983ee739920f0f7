// A response's table as a gRPC message.
#include "gateway/h2/infer_request.h"

namespace pyserver::gateway::h2 {

InferResponse::~InferResponse() {
  if (lease_ == 0) return;
  shm::Return record;
  record.lease = lease_;
  session_->send(record);
}

base::Status InferResponse::read(const shm::Reply& reply, const model::ModelSpec& spec,
                                 Counters* counters) {
  lease_ = reply.lease;
  const shm::Mapping* const region = region_of(reply.owner);
  if (region == nullptr || !region->contains(reply.table_offset, reply.table_bytes)) {
    ++counters->bad_replies;
    return base::unavailable("the response of model '" + spec.name +
                             "' is no longer there: its process ended");
  }
  base::Status status = view_.parse({region->data() + reply.table_offset, reply.table_bytes});
  if (!status.ok()) {
    ++counters->bad_replies;
    return status;
  }
  if ((reply.flags & shm::kError) == 0) return {};
  const auto code =
      reply.code <= base::kMaxCode ? static_cast<base::Code>(reply.code) : base::Code::kInternal;
  return base::Status(code, std::string(view_.message()));
}

base::Status InferResponse::encode(std::shared_ptr<const InferRequest> request) {
  request_ = std::move(request);
  return take_spans(
      protocol::grpc::encode(*request_->spec, request_->decoded, view_, finder(), &encoded_));
}

base::Status InferResponse::encode_for_stream(std::shared_ptr<const InferRequest> request,
                                              bool final) {
  request_ = std::move(request);
  return take_spans(protocol::grpc::encode_stream(*request_->spec, request_->decoded, view_, final,
                                                  finder(), &encoded_));
}

base::Status InferResponse::take_spans(base::Status status) {
  if (status.ok()) spans = std::move(encoded_.spans);
  return status;
}

protocol::FindBytes InferResponse::finder() {
  return [this](const shm::TensorEntry& entry) -> std::optional<std::span<const uint8_t>> {
    if (entry.place != shm::Place::kRegion) return std::nullopt;
    const shm::Mapping* const region = region_of(entry.region);
    if (region == nullptr) return std::nullopt;
    return shm::bytes_at(*region, entry.offset, entry.byte_size);
  };
}

const shm::Mapping* InferResponse::region_of(uint32_t peer) {
  if (peer == session_->peer) return &session_->region;
  for (const auto& [holder, region] : held_) {
    if (holder == peer) return region.get();
  }
  shm::RegionRef region = session_->peers.find(peer);
  if (region == nullptr) return nullptr;
  held_.emplace_back(peer, std::move(region));
  return held_.back().second.get();
}

}  // namespace pyserver::gateway::h2
