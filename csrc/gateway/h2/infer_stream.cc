// ModelStreamInfer: order, finals, errors within the stream.
#include "gateway/h2/infer_stream.h"

#include <algorithm>

namespace pyserver::gateway::h2 {

using protocol::grpc::StatusCode;

namespace {

// A client that sends more without taking answers waits.
constexpr size_t kMaxUnderWay = 1024;
constexpr size_t kMaxQueuedBytes = 64u << 20;
// Each of its requests may have so many responses (instance::Link holds up the model then); a client with many requests that takes none
// of them is given up before all of them have.
constexpr size_t kTooManyResponses = 65536;
constexpr size_t kTooManyBytes = 256u << 20;

// An answer without tensors, in memory of its own.
struct NoticeChunk final : Chunk {
  explicit NoticeChunk(const protocol::grpc::StreamNotice& notice) {
    protocol::grpc::encode_stream_notice(notice, &message);
    spans = std::move(message.spans);
  }
  protocol::grpc::EncodedMessage message;
};

}  // namespace

InferStream::InferStream(Stream* stream, InferRequests* requests)
    : InferCall(stream, requests), strict_(stream->field("triton_grpc_error") == "true") {}

bool InferStream::full() const {
  return turns_.size() + running_.size() >= kMaxUnderWay ||
         stream()->queued_bytes() > kMaxQueuedBytes;
}

void InferStream::message(InferRef request) {
  request->owner = this;
  base::Status status = requests()->identify(request.get());
  if (!request->waits() && status.ok() && request->spec->decoupled) {
    running_.emplace(request.get(), request);
  } else {
    turns_.push_back({});
    turns_.back().request = request;
  }
  if (!request->waits()) go_on(request, std::move(status));
}

void InferStream::on_called(InferRequest* request, base::Status status) {
  const auto turn = turn_of(request);
  if (turn == turns_.end()) return;
  const InferRef held = turn->request;
  if (status.ok()) status = requests()->find_model(request);
  if (request->waits()) return;
  if (status.ok() && request->spec->decoupled) {
    turns_.erase(turn);
    running_.emplace(request, held);
  }
  go_on(held, std::move(status));
  answer_in_order();  // those behind it need not wait for a decoupled one
  if (!full()) resume();
}

void InferStream::go_on(const InferRef& request, base::Status status) {
  if (status.ok()) status = requests()->submit(request);
  if (status.ok()) return;
  status = requests()->refusal(*request, std::move(status));
  ++requests()->host()->counters.infer_refused;
  request->owner = nullptr;
  if (running_.erase(request.get()) > 0) {
    send_error(*request, status, true, true);
    check_end();
    return;
  }
  Turn& turn = *turn_of(request.get());
  turn.error = std::move(status);
  turn.complete = turn.refused = true;
  answer_in_order();
}

std::deque<InferStream::Turn>::iterator InferStream::turn_of(const InferRequest* request) {
  return std::find_if(turns_.begin(), turns_.end(),
                      [request](const Turn& one) { return one.request.get() == request; });
}

void InferStream::on_response(InferRequest* request, std::shared_ptr<InferResponse> response,
                              base::Status status, bool final) {
  if (final) request->owner = nullptr;
  if (const auto found = running_.find(request); found != running_.end()) {
    const InferRef held = found->second;
    if (final) running_.erase(found);
    answer_decoupled(held, std::move(response), status, final);
    check_end();
  } else {
    const auto turn = turn_of(request);
    if (turn == turns_.end()) return;
    if (!status.ok() || response != nullptr) {
      if (++turn->response_count == 1) {
        turn->first = std::move(response);
        turn->error = std::move(status);
      }
    }
    turn->complete = final;
    if (final) answer_in_order();
  }
  if (!full()) resume();
}

void InferStream::answer_in_order() {
  while (!over_ && !turns_.empty() && turns_.front().complete) {
    Turn turn = std::move(turns_.front());
    turns_.pop_front();
    answer(&turn);
  }
  check_end();
}

void InferStream::answer(Turn* turn) {
  if (turn->error.ok() && turn->response_count != 1) {
    turn->error = base::internal_error("expected a single response, got " +
                                       std::to_string(turn->response_count));
  }
  if (turn->error.ok()) turn->error = turn->first->encode_for_stream(turn->request, true);
  if (turn->error.ok()) {
    send(std::move(turn->first));
  } else {
    send_error(*turn->request, turn->error, turn->refused, true);
  }
}

void InferStream::answer_decoupled(const InferRef& request, std::shared_ptr<InferResponse> response,
                                   const base::Status& status, bool final) {
  base::Status error = status;
  if (stream()->queued_chunks() > kTooManyResponses || stream()->queued_bytes() > kTooManyBytes) {
    over_ = true;
    ++requests()->host()->counters.timeouts;
    stream()->reset(NGHTTP2_ENHANCE_YOUR_CALM);  // gRPC's clients call it RESOURCE_EXHAUSTED
    abandon_all();
    return;
  }
  if (error.ok() && response != nullptr) error = response->encode_for_stream(request, final);
  if (!error.ok()) {
    send_error(*request, error, false, final);
  } else if (response != nullptr) {
    send(std::move(response));
  } else if (final && request->decoded.empty_final_response) {
    send_empty_final(*request);
  }
}

void InferStream::send(std::shared_ptr<InferResponse> response) {
  if (over_) return;
  requests()->host()->counters.response_bytes += response->byte_size();
  stream()->send(std::move(response));
}

void InferStream::send_error(const InferRequest& request, const base::Status& status, bool refused,
                             bool final) {
  if (over_) return;
  if (strict_) {
    fail(status);
    return;
  }
  protocol::grpc::StreamNotice notice;
  notice.error_message = status.message();
  notice.id = request.id;
  if (!refused) {
    notice.model_name = request.model_name;
    notice.model_version = request.model_version;  // as asked for
    notice.final = final;
  }
  send_notice(notice);
}

void InferStream::send_empty_final(const InferRequest& request) {
  protocol::grpc::StreamNotice notice;
  notice.model_name = request.model_name;
  notice.model_version = request.model_version;
  notice.id = request.id;
  notice.final = true;
  send_notice(notice);
}

void InferStream::send_notice(const protocol::grpc::StreamNotice& notice) {
  if (!over_) stream()->send(std::make_shared<NoticeChunk>(notice));
}

void InferStream::broken(StatusCode code, const std::string& text) {
  over_ = true;
  stream()->finish(code, text);
  abandon_all();
}

void InferStream::fail(const base::Status& status) {
  over_ = true;
  stream()->finish(protocol::grpc::status_code(status.code()), status.message());
  abandon_all();
}

void InferStream::drained(size_t) {
  if (!full()) resume();
}

void InferStream::all_received() {
  input_ended_ = true;
  if (inside_message() && !over_) {
    broken(StatusCode::kInternal, "the last request message is cut short");
    return;
  }
  check_end();
}

void InferStream::end_when_idle() {
  server_exits_ = true;
  check_end();
}

void InferStream::check_end() {
  if (over_ || !turns_.empty() || !running_.empty()) return;
  if (!input_ended_ && (!server_exits_ || inside_message())) return;
  over_ = true;
  if (input_ended_) {
    stream()->finish(StatusCode::kOk, {});
  } else {
    stream()->finish(StatusCode::kUnavailable, "Server exiting");
  }
}

void InferStream::abandon_all() {
  for (const Turn& turn : turns_) {
    if (turn.request->owner != nullptr) requests()->abandon(turn.request.get());
  }
  for (const auto& [request, held] : running_) requests()->abandon(request);
  turns_.clear();
  running_.clear();
}

void InferStream::closed() {
  over_ = true;
  abandon_all();
}

}  // namespace pyserver::gateway::h2
