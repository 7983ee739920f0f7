// Messages out of bytes.
#include "gateway/h2/infer_call.h"

#include <algorithm>
#include <utility>

namespace pyserver::gateway::h2 {

using protocol::grpc::StatusCode;

InferCall::InferCall(Stream* stream, InferRequests* requests)
    : stream_(stream), requests_(requests) {
  const std::string_view name = stream->field("grpc-encoding");
  encoding_ = name.empty() ? Encoding::kIdentity : parse_encoding(name);
  const CompressionLevel level = requests->host()->settings.grpc.compression_level;
  if (level == CompressionLevel::kNone) return;
  const Encoding answers = encoding_for_level(level, stream->field("grpc-accept-encoding"));
  if (answers != Encoding::kIdentity) stream->compress(answers);
}

void InferCall::take(std::span<const uint8_t> bytes) {
  withheld_ += bytes.size();
  const size_t used = waiting_.empty() ? parse(bytes) : 0;
  waiting_.append(reinterpret_cast<const char*>(bytes.data()) + used, bytes.size() - used);
  if (!full()) resume();
}

void InferCall::input_ended() {
  ended_ = true;
  if (waiting_.empty()) all_received();
}

// How much of it is done with; all of it when the call is over.
size_t InferCall::parse(std::span<const uint8_t> bytes) {
  const size_t whole = bytes.size();
  while (!bytes.empty() && !broken_ && !stream_->finished()) {
    if (request_ == nullptr) {
      if (prefix_size_ == 0 && full()) return whole - bytes.size();
      const size_t step = std::min(bytes.size(), prefix_.size() - prefix_size_);
      std::copy_n(bytes.data(), step, prefix_.data() + prefix_size_);
      prefix_size_ += step;
      bytes = bytes.subspan(step);
      if (prefix_size_ < prefix_.size() || !begin_message()) continue;
    } else {
      const size_t step = std::min<uint64_t>(bytes.size(), left_);
      left_ -= step;
      const base::Status status = take_part(bytes.first(step));
      bytes = bytes.subspan(step);
      if (!status.ok()) {
        refuse_part(status);
        break;
      }
    }
    if (left_ == 0) {
      prefix_size_ = 0;
      stream_->message_came();
      message(std::exchange(request_, nullptr));
    }
  }
  return whole;
}

// Of the message under way.
base::Status InferCall::take_part(std::span<const uint8_t> bytes) {
  RequestBody& body = request_->body;
  Counters& counters = requests_->host()->counters;
  if (bytes.data() != body.window().data()) {
    const uint64_t before = body.size();
    base::Status status = body.take(bytes, &counters.copied_bytes);
    if (prefix_[0] != 0) requests_->host()->inflated_bytes += body.size() - before;
    return status;
  }
  body.received(bytes.size());  // it is there already
  counters.region_bytes += bytes.size();
  return {};
}

void InferCall::refuse_part(const base::Status& status) {
  std::string text = status.message();
  if (request_->body.over_limit()) {
    text = "Received message larger than max: decompressed it has more than " +
           std::to_string(request_->body.limit()) + " bytes";
  }
  broken_ = true;
  request_.reset();  // not only when the client takes the answer
  broken(StatusCode::kResourceExhausted, text);
}

// Triton takes as much of a compressed message as of any other. Here a few bytes may not take memory and time without measure.
uint64_t InferCall::most_inflated(uint64_t byte_size) const {
  constexpr uint64_t kAlways = uint64_t{64} << 20;
  constexpr uint64_t kTimes = 32;
  return std::min<uint64_t>(std::max(kAlways, kTimes * byte_size),
                            requests_->host()->settings.grpc.max_message_bytes);
}

std::span<uint8_t> InferCall::window() {
  if (request_ == nullptr || !waiting_.empty() || broken_ || stream_->finished()) return {};
  return request_->body.window();
}

void InferCall::resume() {
  if (!waiting_.empty()) {
    const auto* const begin = reinterpret_cast<const uint8_t*>(waiting_.data());
    waiting_at_ += parse({begin + waiting_at_, waiting_.size() - waiting_at_});
    if (waiting_at_ == waiting_.size()) {
      std::string().swap(waiting_);
      waiting_at_ = 0;
      if (ended_ && !stream_->finished()) all_received();
    } else if (2 * waiting_at_ >= waiting_.size()) {  // a client need never let it become empty
      waiting_.erase(0, std::exchange(waiting_at_, 0));
    }
  }
  const size_t left = waiting_.size() - waiting_at_;
  stream_->consume(withheld_ - left);
  withheld_ = left;
}

// False: the call is over.
bool InferCall::begin_message() {
  const auto prefix = protocol::grpc::parse_prefix(prefix_);
  const GatewaySettings& settings = requests_->host()->settings;
  StatusCode code = StatusCode::kInternal;
  std::string text;
  if (!prefix) {
    text = "a message's first byte is neither 0 nor 1";
  } else if (prefix->byte_size > settings.grpc.max_message_bytes) {
    code = StatusCode::kResourceExhausted;
    text = "Received message larger than max (" + std::to_string(prefix->byte_size) + " vs. " +
           std::to_string(settings.grpc.max_message_bytes) + ")";
  } else if (prefix->compressed && encoding_ == Encoding::kUnsupported) {
    code = StatusCode::kUnimplemented;
    text = "the message's compression '" + std::string(stream_->field("grpc-encoding")) +
           "' is not supported";
  } else if (prefix->compressed && encoding_ == Encoding::kIdentity) {
    text = "a message is marked as compressed, but no grpc-encoding was given";
  } else if (requests_->session() == nullptr) {
    code = StatusCode::kUnavailable;
    text = "the server's core is not available; try again shortly";
  } else {
    request_ = std::make_shared<InferRequest>(requests_->session());
    left_ = prefix->byte_size;
    if (prefix->compressed) {
      request_->body.begin_growing(request_->session, encoding_, 0, most_inflated(left_));
      return true;
    }
    const base::Status status = make_room();
    if (status.ok()) return true;
    code = StatusCode::kResourceExhausted;
    text = status.message();
  }
  broken_ = true;
  request_.reset();
  broken(code, text);
  return false;
}

// What is announced is set aside at once only while there is plenty. Beyond that a message has room for what has come of it: whoever
// announces much and sends little takes nothing from others.
base::Status InferCall::make_room() {
  const CoreSession& session = *request_->session;
  const uint64_t used = session.allocator.used_bytes();
  const uint64_t whole = session.region.size();
  if (left_ > whole) return region_full(session, left_);
  if (used == 0 || used + left_ <= whole / 2)
    return request_->body.begin_exact(request_->session, left_, 0);
  request_->body.begin_growing(request_->session, Encoding::kIdentity, 0, left_);
  return {};
}

}  // namespace pyserver::gateway::h2
