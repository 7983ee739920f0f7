// InferenceRequest, InferenceResponse and InferenceResponseSender of triton_python_backend_utils,
// over the instance's own classes.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "bindings/tensor.h"
#include "instance/executor.h"
#include "shm/table.h"

namespace pyserver::bindings {

class Callees;

// What all requests of an instance share.
struct InstanceContext {
  std::shared_ptr<instance::Executor> executor;
  std::string instance_name;
  std::vector<std::string> outputs;         // of the model config, in its order
  std::vector<std::string> sorted_outputs;  // what a request that names none gets
  bool decoupled = false;
  std::shared_ptr<Callees> callees;  // whom the model may call; null: nobody

  std::optional<uint16_t> output_index(std::string_view name) const;
};

using ContextRef = std::shared_ptr<const InstanceContext>;

class TritonError {
 public:
  TritonError(std::string message, int code);
  const std::string& message() const { return message_; }
  int code() const { return code_; }

 private:
  std::string message_;
  int code_;
};

class InferenceResponse {
 public:
  InferenceResponse(std::vector<std::shared_ptr<Tensor>> outputs,
                    std::shared_ptr<TritonError> error, const pybind11::object& parameters);
  const std::vector<std::shared_ptr<Tensor>>& outputs() const { return outputs_; }
  const std::shared_ptr<TritonError>& error() const { return error_; }
  const std::vector<shm::Parameter>& parameters() const { return parameters_; }
  std::string parameters_json() const;

 private:
  std::vector<std::shared_ptr<Tensor>> outputs_;
  std::shared_ptr<TritonError> error_;
  std::vector<shm::Parameter> parameters_;
  pybind11::object parameters_dict_;
};

class InferenceRequest;

// Sends responses of one request from any thread.
class ResponseSender {
 public:
  ResponseSender(instance::RequestRef request, ContextRef context)
      : request_(std::move(request)), context_(std::move(context)) {}
  void send(const std::shared_ptr<InferenceResponse>& response, uint32_t flags);
  bool is_cancelled() const;
  // Whether send() would go through at once. False while the client has too much to read.
  bool has_room() const;

 private:
  instance::RequestRef request_;
  ContextRef context_;
  bool sent_ = false;
  bool closed_ = false;
};

// A request that the model was given; MadeRequest (calls.h) is one that it has made.
class InferenceRequest {
 public:
  InferenceRequest(instance::RequestRef request, ContextRef context)
      : request_(std::move(request)), context_(std::move(context)) {}

  InferenceRequest(const InferenceRequest&) = delete;
  InferenceRequest& operator=(const InferenceRequest&) = delete;
  virtual ~InferenceRequest() = default;

  virtual const std::vector<std::shared_ptr<Tensor>>& inputs();
  std::shared_ptr<Tensor> input(std::string_view name);
  virtual std::vector<std::string> requested_output_names() const;
  // A null request has no id, no correlation id and no parameters of its own, and nobody wants its outputs.
  virtual std::string request_id() const {
    return request_->null_request() ? std::string() : std::string(request_->table().request_id());
  }
  virtual pybind11::object correlation_id() const;
  virtual uint64_t timeout_us() const { return request_->timeout_us(); }
  uint32_t flags() const { return flags_ ? *flags_ : request_->flags(); }
  void set_flags(uint32_t flags) { flags_ = flags; }
  virtual pybind11::dict parameters() const;
  virtual bool is_cancelled() const;
  virtual std::shared_ptr<ResponseSender> response_sender();
  bool has_sender() const { return sender_ != nullptr; }
  virtual void set_release_flags(uint32_t flags);
  bool wants_reschedule() const { return wants_reschedule_; }
  const instance::RequestRef& native() const { return request_; }

 private:
  instance::RequestRef request_;
  ContextRef context_;
  std::vector<std::shared_ptr<Tensor>> inputs_;  // made when first asked for
  std::shared_ptr<ResponseSender> sender_;
  bool wants_reschedule_ = false;
  std::optional<uint32_t> flags_;  // where the model has set them
};

// Raises what Triton does of anything but a dict of bool, int and str; None is empty.
std::vector<shm::Parameter> parameters_from(const pybind11::object& given, const char* whose);

// Sends one response. Tensors that lie in the request's own memory go by reference; everything else
// is copied once into the own region. Only outputs that the request wants are sent. `response` is
// let go before the request is, so that views which only it kept do not delay the release.
void send_response(instance::Request& request, const InstanceContext& context,
                   std::shared_ptr<InferenceResponse> response, bool final);

void bind_inference_request(pybind11::module_& module);

}  // namespace pyserver::bindings
