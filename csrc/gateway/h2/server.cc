// Connections and the routes of their calls.
#include "gateway/h2/server.h"

#include <algorithm>
#include <utility>

#include "gateway/h2/infer_stream.h"
#include "gateway/h2/infer_unary.h"

namespace pyserver::gateway::h2 {

using protocol::grpc::StatusCode;

Server::~Server() {
  sessions_.for_each([](Session* session) { session->close(); });
  proxy_.on_core_lost();
  bury();
}

void Server::adopt(Socket socket, std::span<const uint8_t> received) {
  auto session = std::make_unique<Session>(host_, &queue_, this, std::move(socket));
  if (!session->watch().ok()) return;
  Session* const added = sessions_.add(std::move(session));
  added->start(received);
}

void Server::session_closed(Session* session) { buried_.push_back(sessions_.take(session)); }

void Server::begin_call(Stream* stream) {
  route(stream);
  if (stream->deadline_ns > 0 && !stream->finished())
    deadlines_.emplace(stream->deadline_ns, stream);
}

void Server::end_call(Stream* stream) {
  if (stream->deadline_ns > 0) deadlines_.erase({stream->deadline_ns, stream});
}

void Server::end_overdue(uint64_t now_ns) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_ns) {
    Stream* const stream = deadlines_.begin()->second;
    deadlines_.erase(deadlines_.begin());
    stream->session()->overdue(stream);
  }
}

void Server::route(Stream* stream) {
  if (host_->draining || ends_streams_) {
    stream->finish(StatusCode::kUnavailable,
                   "GRPC server is shutting down and has stopped accepting new requests.");
    return;
  }
  Handler handler = Handler::kCore;
  if (!admits(stream, &handler)) return;
  if (!serving_) {
    stream->finish(StatusCode::kUnavailable,
                   "the server's core is not available; try again shortly");
    return;
  }
  if (handler == Handler::kInfer) {
    stream->call = std::make_unique<InferUnary>(stream, &requests_);
  } else if (handler == Handler::kInferStream) {
    stream->call = std::make_unique<InferStream>(stream, &requests_);
  } else {
    stream->call = proxy_.begin(stream);
  }
}

// False: the call was answered.
bool Server::admits(Stream* stream, Handler* handler) const {
  const auto value_of = [stream](std::string_view name) {
    const auto found =
        std::find_if(stream->fields.begin(), stream->fields.end(),
                     [name](const Field& field) { return equals_ignoring_case(field.name, name); });
    return found != stream->fields.end() ? std::string_view(found->value) : std::string_view();
  };
  const Decision decision =
      policy_->judge_grpc(stream->path, value_of, stream->session()->entrance());
  switch (decision.verdict) {
    case Verdict::kAllowed:
      *handler = decision.route.endpoint->handler;
      return true;
    case Verdict::kRestricted:
      stream->finish(StatusCode::kUnavailable, "This protocol is restricted, expecting header '" +
                                                   std::string(decision.header) + "'");
      return false;
    case Verdict::kUnknown:
      break;
  }
  stream->finish(StatusCode::kUnimplemented, {});  // as Triton, without a text
  return false;
}

void Server::on_core_lost() {
  serving_ = false;
  requests_.on_core_lost();
  proxy_.on_core_lost();
}

void Server::drain() {
  sessions_.for_each([](Session* session) { session->drain(); });
}

void Server::end_streams() {
  ends_streams_ = true;
  sessions_.for_each([](Session* session) { session->end_streams(); });
}

void Server::sweep(uint32_t now_s) {
  sessions_.for_each([now_s](Session* session) { session->sweep(now_s); });
}

void Server::flush() {
  // What one of them sends may give another something to send.
  constexpr int kRounds = 4;
  for (int round = 0; round < kRounds && !queue_.empty(); ++round) {
    flushing_.swap(queue_);
    for (Transport* const one : flushing_) {
      if (one != nullptr) one->flush();
    }
    flushing_.clear();
  }
}

void Server::bury() {
  buried_.clear();
  proxy_.bury();
}

}  // namespace pyserver::gateway::h2
