// ModelInfer from its message to its answer.
#include "gateway/h2/infer_unary.h"

#include <utility>

namespace pyserver::gateway::h2 {

using protocol::grpc::StatusCode;

// In Triton's order: model and version, decoupled, then the request itself.
void InferUnary::message(InferRef request) {
  if (request_ != nullptr) {
    broken(StatusCode::kUnimplemented, "ModelInfer takes one request message");
    return;
  }
  request_ = std::move(request);
  request_->owner = this;
  base::Status status = requests()->identify(request_.get());
  if (!request_->waits()) go_on(std::move(status));
}

void InferUnary::on_called(InferRequest* request, base::Status status) {
  if (status.ok()) status = requests()->find_model(request);
  if (!request->waits()) go_on(std::move(status));
}

void InferUnary::go_on(base::Status status) {
  if (status.ok() && request_->spec->decoupled) {
    status = base::unsupported(
        "ModelInfer RPC doesn't support models with decoupled transaction policy");
  }
  if (status.ok()) status = requests()->submit(request_);
  if (status.ok()) return;
  request_->owner = nullptr;
  ++requests()->host()->counters.infer_refused;
  fail(requests()->refusal(*request_, std::move(status)));
}

void InferUnary::broken(StatusCode code, const std::string& text) {
  ++requests()->host()->counters.infer_refused;
  stream()->finish(code, text);
}

void InferUnary::all_received() {
  if (stream()->finished() || (request_ != nullptr && !inside_message())) return;
  broken(StatusCode::kInternal,
         inside_message() ? "the request message is cut short" : "Unable to parse request");
}

void InferUnary::on_response(InferRequest*, std::shared_ptr<InferResponse> response,
                             base::Status status, bool final) {
  if (!status.ok() || response != nullptr) {
    if (++response_count_ == 1) {
      first_ = std::move(response);
      error_ = std::move(status);
    }
  }
  if (final) answer();
}

void InferUnary::answer() {
  request_->owner = nullptr;
  if (error_.ok() && response_count_ != 1) {
    error_ =
        base::internal_error("expected a single response, got " + std::to_string(response_count_));
  }
  const std::shared_ptr<InferResponse> response = std::move(first_);
  if (error_.ok()) error_ = response->encode(request_);
  if (!error_.ok()) {
    fail(error_);
    return;
  }
  requests()->host()->counters.response_bytes += response->byte_size();
  stream()->send(response);
  stream()->finish(StatusCode::kOk, {});
}

void InferUnary::fail(const base::Status& status) {
  stream()->finish(protocol::grpc::status_code(status.code()), status.message());
}

void InferUnary::closed() {
  if (request_ != nullptr && request_->owner != nullptr) requests()->abandon(request_.get());
  first_.reset();
}

}  // namespace pyserver::gateway::h2
