// ModelStreamInfer: many requests, their responses as they come.
//
// The responses of decoupled models go out at once; of other models there is one for each request, and these go out in the order in
// which the requests came.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "gateway/h2/infer_call.h"

namespace pyserver::gateway::h2 {

class InferStream final : public InferCall, private InferOwner {
 public:
  InferStream(Stream* stream, InferRequests* requests);
  void drained(size_t bytes) override;
  void end_when_idle() override;
  void closed() override;

 private:
  // The place of a request in the order, until its answer is out.
  struct Turn {
    InferRef request;
    std::shared_ptr<InferResponse> first;
    base::Status error;
    uint32_t response_count = 0;
    bool complete = false;
    bool refused = false;  // never reached core
  };

  void message(InferRef request) override;
  void all_received() override;
  void broken(protocol::grpc::StatusCode code, const std::string& text) override;
  bool full() const override;
  void on_called(InferRequest* request, base::Status status) override;
  void go_on(const InferRef& request, base::Status status);
  std::deque<Turn>::iterator turn_of(const InferRequest* request);
  void on_response(InferRequest* request, std::shared_ptr<InferResponse> response,
                   base::Status status, bool final) override;
  void answer_in_order();
  void answer(Turn* turn);
  void answer_decoupled(const InferRef& request, std::shared_ptr<InferResponse> response,
                        const base::Status& status, bool final);
  void send_error(const InferRequest& request, const base::Status& status, bool refused,
                  bool final);
  void send_empty_final(const InferRequest& request);
  void send(std::shared_ptr<InferResponse> response);
  void send_notice(const protocol::grpc::StreamNotice& notice);
  void fail(const base::Status& status);
  void abandon_all();
  void check_end();

  const bool strict_;  // the first error ends the call
  bool input_ended_ = false;
  bool server_exits_ = false;
  bool over_ = false;
  std::deque<Turn>
      turns_;  // requests of models that are not decoupled, or not loaded yet, in order
  std::unordered_map<InferRequest*, InferRef> running_;  // of decoupled models
};

}  // namespace pyserver::gateway::h2
