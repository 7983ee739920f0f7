// A call on its way through: the client's bytes to core, core's answer to the client.
#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "gateway/h2/session.h"
#include "gateway/h2/upstream.h"

namespace pyserver::gateway::h2 {

using protocol::grpc::StatusCode;

namespace {

// The only service whose calls may be without a message.
constexpr std::string_view kReflection = "/grpc.reflection.";

struct BytesChunk final : Chunk {
  explicit BytesChunk(std::span<const uint8_t> bytes) : kept(bytes.begin(), bytes.end()) {
    spans.push_back(kept);
  }
  const std::vector<uint8_t> kept;
};

}  // namespace

ProxyCall::ProxyCall(Stream* stream, ProxyService* service, uint64_t limit)
    : stream_(stream),
      service_(service),
      meter_(parse_encoding(stream->field("grpc-encoding")), limit) {
  ++stream->session()->proxied_calls;
}

ProxyCall::~ProxyCall() {
  service_->forget(this);
  if (connection_ != nullptr) connection_->cancel(this);
}

void ProxyCall::take(std::span<const uint8_t> bytes) {
  const uint64_t messages = meter_.message_count();
  const base::Status status = meter_.take(bytes);
  if (!status.ok()) {
    answered_ = true;
    stream_->finish(StatusCode::kResourceExhausted, status.message());
    give_up();
    return;
  }
  if (meter_.message_count() > messages) stream_->message_came();
  request_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (connection_ != nullptr && std::exchange(deferred_, false)) connection_->resume(*this);
}

void ProxyCall::input_ended() {
  request_ended_ = true;
  if (answered_) return;
  // Core's library would wait for the rest until the connection to it ends, which is all of ours.
  const bool optional = stream_->path.starts_with(kReflection) && meter_.message_count() == 0;
  if (meter_.inside_message() || (meter_.message_count() == 0 && !optional)) {
    answered_ = true;
    stream_->finish(StatusCode::kInternal, meter_.inside_message()
                                               ? "the request message is cut short"
                                               : "Unable to parse request");
    give_up();
    return;
  }
  if (connection_ != nullptr && std::exchange(deferred_, false)) connection_->resume(*this);
}

ssize_t ProxyCall::read_request(uint8_t* buffer, size_t length, uint32_t* flags) {
  const size_t step = std::min(length, request_.size() - request_sent_);
  if (step == 0 && !request_ended_) {
    deferred_ = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  std::memcpy(buffer, request_.data() + request_sent_, step);
  request_sent_ += step;
  if (request_sent_ == request_.size()) {
    request_.clear();
    request_sent_ = 0;
    if (request_ended_) *flags |= NGHTTP2_DATA_FLAG_EOF;
  }
  if (stream_ != nullptr) stream_->consume(step);
  return static_cast<ssize_t>(step);
}

void ProxyCall::answer_field(std::string name, std::string value) {
  answer_.push_back({std::move(name), std::move(value)});
}

void ProxyCall::answer_fields_complete(bool end) {
  if (stream_ == nullptr) return;
  std::vector<Field> fields = std::exchange(answer_, {});
  if (end) {
    answered_ = true;
    stream_->end(std::move(fields));
  } else {
    stream_->begin(std::move(fields));
  }
}

void ProxyCall::answer_data(std::span<const uint8_t> bytes) {
  if (stream_ != nullptr) stream_->send(std::make_shared<BytesChunk>(bytes));
}

void ProxyCall::drained(size_t bytes) {
  if (connection_ != nullptr) connection_->consume(*this, bytes);
}

// Of the stream to core.
void ProxyCall::ended(uint32_t) {
  connection_ = nullptr;
  if (stream_ != nullptr && !answered_) {
    stream_->finish(StatusCode::kUnavailable,
                    "the server's core process ended while the call was under way");
  }
}

void ProxyCall::closed() {
  --stream_->session()->proxied_calls;
  stream_ = nullptr;
  give_up();
}

// Core need not go on.
void ProxyCall::give_up() {
  service_->forget(this);
  if (connection_ != nullptr) connection_->cancel(this);
  request_.clear();
  request_sent_ = 0;
}

// Not when it is core that does not take what has come.
bool ProxyCall::waits_for_bytes() const {
  return !request_ended_ && request_.empty() &&
         (meter_.inside_message() || meter_.message_count() == 0);
}

}  // namespace pyserver::gateway::h2
