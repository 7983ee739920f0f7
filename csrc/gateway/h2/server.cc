// Connections and the routes of their calls.
#include "gateway/h2/server.h"

#include <utility>

#include "gateway/h2/categories.h"
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
  sessions_.add(std::move(session))->start(received);
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
  if (host_->draining) {
    stream->finish(StatusCode::kUnavailable,
                   "GRPC server is shutting down and has stopped accepting new requests.");
    return;
  }
  if (restricted(stream)) return;
  if (!serving_) {
    stream->finish(StatusCode::kUnavailable,
                   "the server's core is not available; try again shortly");
    return;
  }
  if (stream->path == "/inference.GRPCInferenceService/ModelInfer") {
    stream->call = std::make_unique<InferUnary>(stream, &requests_);
  } else if (stream->path == "/inference.GRPCInferenceService/ModelStreamInfer") {
    stream->call = std::make_unique<InferStream>(stream, &requests_);
  } else {
    stream->call = proxy_.begin(stream);
  }
}

bool Server::restricted(Stream* stream) const {
  const auto& restrictions = host_->settings.grpc.restrictions;
  if (restrictions.empty()) return false;
  const auto found = restrictions.find(category_of_method(stream->path));
  if (found == restrictions.end()) return false;
  const std::string header = "triton-grpc-protocol-" + found->second.header;
  if (stream->field(header) == found->second.value) return false;
  stream->finish(StatusCode::kUnavailable,
                 "This protocol is restricted, expecting header '" + header + "'");
  return true;
}

void Server::on_core_lost() {
  serving_ = false;
  requests_.on_core_lost();
  proxy_.on_core_lost();
}

void Server::drain() {
  sessions_.for_each([](Session* session) { session->drain(); });
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
