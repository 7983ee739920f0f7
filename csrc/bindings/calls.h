// Business logic scripting: requests that a Python model makes itself, and what comes back.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/status.h"
#include "bindings/inference_request.h"
#include "instance/calls.h"
#include "model/catalog.h"

namespace pyserver::bindings {

// What this process may call: the catalog as frontends have it, once it has asked for something, and whom core has introduced it to.
class Callees {
 public:
  // `ask(name)`: core introduces this process to whoever answers for that model; false when there is none. Afterwards the catalog is
  // complete, and stays so.
  explicit Callees(pybind11::function ask) : ask_(std::move(ask)) {}
  void apply(const std::string& json);
  void forget(const std::string& name);
  // `version` -1: the newest.
  base::Status find(const std::string& name, int64_t version,
                    std::shared_ptr<const model::ModelSpec>* model);

 private:
  base::Status find_known(const std::string& name, int64_t version,
                          std::shared_ptr<const model::ModelSpec>* model) const;

  pybind11::function ask_;
  std::mutex mutex_;  // never held while Python runs
  model::Catalog catalog_;
  bool complete_ = false;
  std::unordered_set<std::string> met_;
};

// The instance that this process's model calls for, or null outside of `execute`. The model's API does not say which it means, and a
// process that runs Python models has one. With the GIL held.
void set_caller(ContextRef context);

// Where a model would like its answers; they are where the other model has put them, which is the host's memory.
struct PreferredMemory {
  enum class Type : uint8_t { kGpu = 0, kCpu = 1 };
  Type type = Type::kCpu;
  int64_t device_id = 0;
};

struct InferenceTrace {};

// A request that the model has made.
class MadeRequest final : public InferenceRequest {
 public:
  struct Fields {
    std::string request_id;
    uint64_t correlation_id = 0;
    std::string correlation_text;
    std::vector<std::shared_ptr<Tensor>> inputs;
    std::vector<std::string> outputs;
    std::string model_name;
    int64_t model_version = -1;
    uint64_t timeout_us = 0;
    PreferredMemory preferred_memory;
    pybind11::object parameters;
  };
  MadeRequest(Fields fields, uint32_t flags);

  const std::vector<std::shared_ptr<Tensor>>& inputs() override { return fields_.inputs; }
  std::string request_id() const override { return fields_.request_id; }
  pybind11::object correlation_id() const override;
  uint64_t timeout_us() const override { return fields_.timeout_us; }
  pybind11::dict parameters() const override;
  std::vector<std::string> requested_output_names() const override { return fields_.outputs; }
  bool is_cancelled() const override { return false; }
  void set_release_flags(uint32_t flags) override;
  std::shared_ptr<ResponseSender> response_sender() override;
  const Fields& fields() const { return fields_; }
  const std::vector<shm::Parameter>& native_parameters() const { return parameters_; }

 private:
  Fields fields_;
  std::vector<shm::Parameter> parameters_;
};

// A call that was made, or refused before anybody heard of it.
class PyCall {
 public:
  // Raises outside of `execute`.
  static std::shared_ptr<PyCall> start(const MadeRequest& request, bool decoupled,
                                       std::shared_ptr<instance::Completions> completions);
  PyCall(ContextRef context, base::Status refusal)
      : context_(std::move(context)), refusal_(std::move(refusal)) {}
  PyCall(const PyCall&) = delete;
  PyCall& operator=(const PyCall&) = delete;
  ~PyCall();

  const ContextRef& context() const { return context_; }
  // 0: it was refused.
  uint64_t ticket() const { return call_ == nullptr ? 0 : call_->ticket(); }
  bool ready() const { return call_ == nullptr || call_->ready(); }
  // Waits for the next response, without the GIL; null: there are no more.
  std::shared_ptr<InferenceResponse> next();
  void cancel();

 private:
  ContextRef context_;
  base::Status refusal_;
  bool refusal_given_ = false;
  instance::CallRef call_;
};

// pb_utils' iterator over the responses of a decoupled model.
class ResponseIterator {
 public:
  explicit ResponseIterator(std::shared_ptr<PyCall> call) : call_(std::move(call)) {}
  std::shared_ptr<InferenceResponse> next();
  void cancel() { call_->cancel(); }

 private:
  std::shared_ptr<PyCall> call_;
};

// The model's one answer, for exec(); of a call that is ready it does not wait.
pybind11::object result_of(const std::shared_ptr<PyCall>& call, bool decoupled);
// An asyncio future of the running loop.
pybind11::object call_future(const MadeRequest& request, bool decoupled);

void bind_calls(pybind11::module_& module);

}  // namespace pyserver::bindings
