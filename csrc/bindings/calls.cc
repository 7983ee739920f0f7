// Requests of a model's own: made in Python, checked and sent natively, waited for without the GIL.
#include "bindings/calls.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "bindings/bindings.h"
#include "bindings/bytes_array.h"
#include "instance/executor.h"

namespace pyserver::bindings {

namespace py = pybind11;

namespace {

constexpr uint32_t kSequenceFlags = shm::kSequenceStart | shm::kSequenceEnd;
constexpr uint64_t kReleaseGilBytes = uint64_t{1} << 18;

ContextRef& caller() {
  static ContextRef context;
  return context;
}

base::Status not_ready(const std::string& model) {
  return base::internal_error("Failed for execute the inference request. Model '" + model +
                              "' is not ready.");
}

// What Triton says of a request that does not become one.
base::Status refusal(const std::string& model, const std::string& why) {
  return base::internal_error("Model " + model + " - Error when running inference: " + why);
}

base::Status decoupled_target(const std::string& model) {
  return base::internal_error(
      "Model " + model +
      " is using the decoupled. The current BLS request call doesn't support models using the "
      "decoupled transaction policy. Please use 'decoupled=True' argument to the 'exec' or "
      "'async_exec' calls for decoupled models.'");
}

// Puts a request's tensors where others can read them.
class InputPlacer {
 public:
  InputPlacer(const InstanceContext& context, instance::CallRequest* request)
      : calls_(*context.executor->calls()),
        memory_(*context.executor->link()->memory()),
        request_(request) {}

  base::Status place(const Tensor& tensor) {
    instance::CallInput input{tensor.name(), tensor.datatype(), tensor.shape(), {}, {}};
    base::Status status;
    if (tensor.object_array()) {
      const BytesElements elements(py::reinterpret_borrow<py::array>(tensor.object_array()));
      if (uint8_t* target = reserve(elements.wire_bytes(), &input); target != nullptr) {
        elements.write(target);
      } else {
        status = exhausted(tensor, elements.wire_bytes());
      }
    } else if (tensor.location()) {
      status = refer(tensor, &input);
    } else {
      status = copy(tensor, &input);
    }
    if (status.ok()) request_->inputs.push_back(std::move(input));
    return status;
  }

 private:
  base::Status refer(const Tensor& tensor, instance::CallInput* input) {
    if (tensor.answer() != nullptr) {
      request_->memory->answers.push_back(tensor.answer());
    } else {
      std::unique_ptr<instance::Hold> hold = instance::Hold::take(tensor.request());
      if (hold == nullptr) {
        return base::internal_error("input '" + tensor.name() +
                                    "' is an input of a request that was released");
      }
      request_->memory->holds.push_back(std::move(hold));
    }
    input->bytes = tensor.bytes();
    input->location = *tensor.location();
    return {};
  }

  base::Status copy(const Tensor& tensor, instance::CallInput* input) {
    const std::span<const uint8_t> bytes = tensor.bytes();
    uint8_t* target = reserve(bytes.size(), input);
    if (target == nullptr) return exhausted(tensor, bytes.size());
    if (bytes.size() >= kReleaseGilBytes) {
      const py::gil_scoped_release released;
      std::memcpy(target, bytes.data(), bytes.size());
    } else if (!bytes.empty()) {
      std::memcpy(target, bytes.data(), bytes.size());
    }
    return {};
  }

  uint8_t* reserve(uint64_t byte_size, instance::CallInput* input) {
    instance::BufferRef buffer = memory_.make_buffer(byte_size);
    if (buffer == nullptr) return nullptr;
    calls_.count_copy(byte_size);
    input->location = {shm::Place::kRegion, memory_.peer(), buffer->offset(), byte_size};
    input->bytes = {buffer->data(), byte_size};
    request_->memory->buffers.push_back(std::move(buffer));
    return request_->memory->buffers.back()->data();
  }

  base::Status exhausted(const Tensor& tensor, uint64_t byte_size) const {
    return base::unavailable("the instance's shared memory is exhausted: input '" + tensor.name() +
                             "' of " + std::to_string(byte_size) +
                             " bytes does not fit (see region-byte-size)");
  }

  instance::Calls& calls_;
  instance::Memory& memory_;
  instance::CallRequest* request_;
};

base::Status fill(const MadeRequest& made, const InstanceContext& context,
                  instance::CallRequest* request) {
  const MadeRequest::Fields& fields = made.fields();
  request->request_id = fields.request_id;
  request->correlation_id = fields.correlation_id;
  request->correlation_text = fields.correlation_text;
  request->flags = static_cast<uint8_t>(made.flags() & kSequenceFlags);
  request->timeout_us = fields.timeout_us;
  // What a decoupled model's own threads do, execute does not wait for.
  request->parent = context.executor->current_batch(!context.decoupled);
  request->outputs = fields.outputs;
  request->parameters = made.native_parameters();
  InputPlacer placer(context, request);
  for (const std::shared_ptr<Tensor>& tensor : fields.inputs) {
    if (base::Status status = placer.place(*tensor); !status.ok()) return status;
  }
  return {};
}

base::Status submit(const MadeRequest& made, const InstanceContext& context, bool decoupled,
                    std::shared_ptr<instance::Completions> completions, instance::CallRef* call) {
  const std::string& name = made.fields().model_name;
  instance::CallRequest request;
  if (context.callees == nullptr ||
      !context.callees->find(name, made.fields().model_version, &request.model).ok()) {
    return not_ready(name);
  }
  if (request.model->decoupled && !decoupled) return decoupled_target(name);
  if (base::Status status = fill(made, context, &request); !status.ok()) return status;
  const py::gil_scoped_release released;
  return context.executor->call(std::move(request), std::move(completions), call);
}

std::shared_ptr<InferenceResponse> response_of(const instance::AnswerRef& answer) {
  if (!answer->status().ok()) {
    return std::make_shared<InferenceResponse>(
        std::vector<std::shared_ptr<Tensor>>(),
        std::make_shared<TritonError>(answer->status().message(),
                                      static_cast<int>(answer->status().code())),
        py::none());
  }
  std::vector<std::shared_ptr<Tensor>> tensors;
  for (const instance::AnswerOutput& output : answer->outputs())
    tensors.push_back(std::make_shared<Tensor>(answer, output));
  py::dict parameters;
  for (const shm::ParameterEntry& entry : answer->table().parameters()) {
    const shm::Parameter parameter = answer->table().parameter(entry);
    parameters[py::str(parameter.key)] =
        std::visit([](const auto& value) { return py::object(py::cast(value)); }, parameter.value);
  }
  py::object given = py::none();
  if (!parameters.empty()) given = parameters;
  return std::make_shared<InferenceResponse>(std::move(tensors), nullptr, given);
}

}  // namespace

void Callees::apply(const std::string& json) {
  const std::lock_guard lock(mutex_);
  raise_if_error(catalog_.apply(json));
}

void Callees::forget(const std::string& name) {
  const std::lock_guard lock(mutex_);
  catalog_.forget(name);
}

base::Status Callees::find_known(const std::string& name, int64_t version,
                                 std::shared_ptr<const model::ModelSpec>* model) const {
  return catalog_.find(name, version == -1 ? std::string() : std::to_string(version), model);
}

base::Status Callees::find(const std::string& name, int64_t version,
                           std::shared_ptr<const model::ModelSpec>* model) {
  {
    const std::lock_guard lock(mutex_);
    if (complete_) {
      base::Status status = find_known(name, version, model);
      // One that is not loaded is asked for: core loads it, or says no.
      if ((!status.ok() && !catalog_.loadable(name)) || (status.ok() && met_.contains(name)))
        return status;
    }
  }
  const bool met = ask_(name).cast<bool>();
  const std::lock_guard lock(mutex_);
  complete_ = true;
  if (met) met_.insert(name);
  base::Status status = find_known(name, version, model);
  if (status.ok() && !met) return base::unavailable("core did not introduce model '" + name + "'");
  return status;
}

// cppcheck-suppress passedByValue
void set_caller(ContextRef context) { caller() = std::move(context); }

MadeRequest::MadeRequest(Fields fields, uint32_t flags)
    : InferenceRequest(nullptr, nullptr), fields_(std::move(fields)) {
  set_flags(flags);
  const std::string whose = " for request with id '" + fields_.request_id + "' and model name '" +
                            fields_.model_name + "' should not be empty.";
  for (const std::shared_ptr<Tensor>& input : fields_.inputs) {
    if (input == nullptr) throw TritonModelException("Input tensor" + whose);
  }
  for (const std::string& output : fields_.outputs) {
    if (output.empty()) throw TritonModelException("Requested output name" + whose);
  }
  // Each name once, in order, as a set has them.
  std::sort(fields_.outputs.begin(), fields_.outputs.end());
  fields_.outputs.erase(std::unique(fields_.outputs.begin(), fields_.outputs.end()),
                        fields_.outputs.end());
  parameters_ = parameters_from(fields_.parameters, "InferenceRequest");
}

py::object MadeRequest::correlation_id() const {
  if (!fields_.correlation_text.empty()) return py::str(fields_.correlation_text);
  return py::int_(fields_.correlation_id);
}

py::dict MadeRequest::parameters() const {
  return fields_.parameters.is_none() ? py::dict() : py::dict(fields_.parameters);
}

void MadeRequest::set_release_flags(uint32_t) {
  throw TritonModelException(
      "Unable to set release flags. The model has made the request itself and will not be given "
      "it to execute.");
}

std::shared_ptr<ResponseSender> MadeRequest::response_sender() {
  throw TritonModelException(
      "There is no response sender: the model has made the request itself, and gets the "
      "responses by exec() or async_exec().");
}

std::shared_ptr<PyCall> PyCall::start(const MadeRequest& request, bool decoupled,
                                      std::shared_ptr<instance::Completions> completions) {
  const ContextRef context = caller();
  if (context == nullptr)
    throw TritonModelException("BLS is only supported during the 'execute' function.");
  instance::CallRef call;
  base::Status status = submit(request, *context, decoupled, std::move(completions), &call);
  if (!status.ok()) status = refusal(request.fields().model_name, status.message());
  auto made = std::make_shared<PyCall>(context, std::move(status));
  made->call_ = std::move(call);
  return made;
}

PyCall::~PyCall() {
  if (call_ != nullptr) context_->executor->calls()->drop(*call_);
}

std::shared_ptr<InferenceResponse> PyCall::next() {
  if (call_ == nullptr) {
    if (std::exchange(refusal_given_, true)) return nullptr;
    return response_of(std::make_shared<instance::Answer>(refusal_));
  }
  while (true) {
    if (const instance::AnswerRef answer = call_->take(); answer != nullptr)
      return response_of(answer);
    if (call_->over()) return nullptr;
    bool goes_on = false;
    {
      const py::gil_scoped_release released;
      goes_on = context_->executor->wait_for(*call_);
    }
    if (!goes_on) raise_if_error(base::internal_error("core's ring is broken"));
  }
}

void PyCall::cancel() {
  if (call_ != nullptr && !call_->over()) context_->executor->calls()->cancel(*call_);
}

std::shared_ptr<InferenceResponse> ResponseIterator::next() {
  std::shared_ptr<InferenceResponse> response = call_->next();
  if (response == nullptr) throw py::stop_iteration();
  return response;
}

py::object result_of(const std::shared_ptr<PyCall>& call, bool decoupled) {
  if (decoupled) return py::cast(std::make_shared<ResponseIterator>(call));
  return py::cast(call->next());
}

namespace {

std::shared_ptr<InferenceRequest> make_request(
    const std::string& request_id, const py::object& correlation_id,
    const std::vector<std::shared_ptr<Tensor>>& inputs, const std::vector<std::string>& outputs,
    const std::string& model_name, int64_t model_version, uint32_t flags, uint64_t timeout,
    const PreferredMemory& preferred_memory, const InferenceTrace&, const py::object& parameters) {
  MadeRequest::Fields fields{
      request_id,       0,         {}, inputs, outputs, model_name, model_version, timeout,
      preferred_memory, parameters};
  if (py::isinstance<py::int_>(correlation_id)) {
    fields.correlation_id = correlation_id.cast<uint64_t>();
  } else if (py::isinstance<py::str>(correlation_id)) {
    fields.correlation_text = correlation_id.cast<std::string>();
  } else {
    throw TritonModelException("Correlation ID must be integer or string");
  }
  return std::make_shared<MadeRequest>(std::move(fields), flags);
}

const MadeRequest& made(const InferenceRequest& request) {
  const auto* given = dynamic_cast<const MadeRequest*>(&request);
  if (given == nullptr) {
    throw TritonModelException(
        "A request that the model was given cannot be sent on; make one of your own with its "
        "tensors.");
  }
  return *given;
}

}  // namespace

void bind_call_futures(py::module_& module);

void bind_calls(py::module_& module) {
  bind_call_futures(module);
  py::class_<Callees, std::shared_ptr<Callees>>(module, "Callees",
                                                "The models that this process may call.")
      .def(py::init<py::function>(), py::arg("ask"))
      .def("apply", &Callees::apply, py::arg("entry"), "A model's catalog entry (JSON).")
      .def("forget", &Callees::forget, py::arg("name"));
  py::enum_<PreferredMemory::Type>(module, "MemoryType")
      .value("TRITONSERVER_MEMORY_GPU", PreferredMemory::Type::kGpu)
      .value("TRITONSERVER_MEMORY_CPU", PreferredMemory::Type::kCpu)
      .export_values();
  py::class_<PreferredMemory>(module, "PreferredMemory",
                              "Where a model would like the outputs of another to be.")
      .def(py::init<PreferredMemory::Type, int64_t>(), py::arg("preferred_memory_type"),
           py::arg("preferred_device_id") = 0);
  py::class_<InferenceTrace>(module, "InferenceTrace", "The trace that a request belongs to.")
      .def(py::init<>())
      .def(
          "get_context", [](const InferenceTrace&) { return py::none(); },
          "None: the request is not traced.");
  py::class_<ResponseIterator, std::shared_ptr<ResponseIterator>>(
      module, "ResponseIterator", "The responses to one request, as they come.")
      .def("__iter__", [](const py::object& self) { return self; })
      .def("__next__", &ResponseIterator::next)
      .def("cancel", &ResponseIterator::cancel,
           "Tells the model that nobody wants more responses; those that come are still given.");
  py::class_<InferenceRequest, std::shared_ptr<InferenceRequest>> request(
      module.attr("InferenceRequest"));
  request
      .def(py::init(&make_request), py::arg("request_id").none(false) = "",
           py::arg("correlation_id").none(false) = 0, py::arg("inputs").none(false),
           py::arg("requested_output_names").none(false), py::arg("model_name").none(false),
           py::arg("model_version").none(false) = -1, py::arg("flags").none(false) = 0,
           py::arg("timeout").none(false) = 0,
           py::arg("preferred_memory").none(false) = PreferredMemory(),
           py::arg("trace").none(false) = InferenceTrace(), py::arg("parameters") = py::none())
      .def("trace", [](const InferenceRequest&) { return InferenceTrace(); })
      .def(
          "exec",
          [](const InferenceRequest& self, bool decoupled) {
            return result_of(PyCall::start(made(self), decoupled, nullptr), decoupled);
          },
          py::arg("decoupled") = false,
          "Waits for the response; with `decoupled` an iterator over however many come.")
      .def(
          "async_exec",
          [](const InferenceRequest& self, bool decoupled) {
            return call_future(made(self), decoupled);
          },
          py::arg("decoupled") = false, "The same, to be awaited in a running event loop.");
}

}  // namespace pyserver::bindings
