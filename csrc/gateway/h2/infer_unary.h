// ModelInfer: one message in, one message or an error out.
#pragma once

#include <memory>
#include <string>

#include "gateway/h2/infer_call.h"

namespace pyserver::gateway::h2 {

class InferUnary final : public InferCall, private InferOwner {
 public:
  using InferCall::InferCall;
  void closed() override;

 private:
  void message(InferRef request) override;
  void all_received() override;
  bool message_due() const override { return request_ == nullptr; }
  void broken(protocol::grpc::StatusCode code, const std::string& text) override;
  void on_called(InferRequest* request, base::Status status) override;
  void go_on(base::Status status);
  void on_response(InferRequest* request, std::shared_ptr<InferResponse> response,
                   base::Status status, bool final) override;
  void fail(const base::Status& status);
  void answer();

  InferRef request_;
  std::shared_ptr<InferResponse> first_;
  base::Status error_;
  uint32_t response_count_ = 0;
};

}  // namespace pyserver::gateway::h2
