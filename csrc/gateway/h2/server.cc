// Connections and the routes of their calls.
#include "gateway/h2/server.h"

#include <utility>

#include "gateway/h2/categories.h"
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
