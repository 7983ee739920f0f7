// Connections and the routes of their calls.
#include "gateway/h2/server.h"

#include <algorithm>
#include <utility>

#include "gateway/h2/infer_stream.h"
#include "gateway/h2/infer_unary.h"

namespace pyserver::gateway::h2 {

using protocol::grpc::StatusCode;

Server::~Server() {
  while (!sessions_.empty()) sessions_.back()->close();
  proxy_.on_core_lost();
  bury();
}

void Server::adopt(base::UniqueFd fd, std::span<const uint8_t> received) {
  auto session = std::make_unique<Session>(host_, &queue_, this, std::move(fd));
  if (!session->watch().ok()) return;
  Session* const made = session.get();
  made->list_index = sessions_.size();
  sessions_.push_back(std::move(session));
  made->start(received);
}

void Server::session_closed(Session* session) {
  const size_t index = session->list_index;
  buried_.push_back(std::move(sessions_[index]));
  if (index + 1 < sessions_.size()) {
    sessions_[index] = std::move(sessions_.back());
    sessions_[index]->list_index = index;
  }
  sessions_.pop_back();
}

void Server::begin_call(Stream* stream) {
  if (host_->draining) {
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
  const Decision decision = policy_->judge_grpc(stream->path, [stream](std::string_view name) {
    const auto found =
        std::find_if(stream->fields.begin(), stream->fields.end(),
                     [name](const Field& field) { return equals_ignoring_case(field.name, name); });
    return found != stream->fields.end() ? std::string_view(found->value) : std::string_view();
  });
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
  stream->finish(StatusCode::kUnimplemented, "Method not found!");  // grpcio's text
  return false;
}

void Server::on_core_lost() {
  serving_ = false;
  requests_.on_core_lost();
  proxy_.on_core_lost();
}

void Server::drain() {
  for (const auto& session : sessions_) session->drain();
}

void Server::sweep(uint32_t now_s) {
  std::vector<Session*> all;
  for (const auto& session : sessions_) all.push_back(session.get());
  for (Session* const session : all) session->sweep(now_s);
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
