// Requests and responses for Python models.
#include "bindings/inference_request.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "bindings/bytes_array.h"
#include "instance/link.h"

namespace pyserver::bindings {

namespace py = pybind11;

namespace {

constexpr uint32_t kCompleteFinal = 1;  // TRITONSERVER_RESPONSE_COMPLETE_FINAL
constexpr uint64_t kReleaseGilBytes = uint64_t{1}
                                      << 18;  // a copy of this size is worth letting others run

std::string type_text(const py::handle& object) {
  return py::str(
             py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(Py_TYPE(object.ptr()))))
      .cast<std::string>();
}

shm::Parameter parameter_from(const py::handle& key, const py::handle& value) {
  if (!py::isinstance<py::str>(key)) {
    throw TritonModelException("Expect parameters keys to have type str, found type " +
                               type_text(key));
  }
  shm::Parameter parameter{key.cast<std::string>(), false};
  if (py::isinstance<py::bool_>(value)) {
    parameter.value = value.cast<bool>();
  } else if (py::isinstance<py::int_>(value)) {
    parameter.value = value.cast<int64_t>();
  } else if (py::isinstance<py::str>(value)) {
    parameter.value = value.cast<std::string>();
  } else {
    throw TritonModelException("Expect parameters values to have type bool/int/str, found type " +
                               type_text(value));
  }
  return parameter;
}

std::string to_json(const py::object& object) {
  return py::module_::import("json")
      .attr("dumps")(object, py::arg("separators") = py::make_tuple(",", ":"))
      .cast<std::string>();
}

base::Status exhausted(const InstanceContext& context, const Tensor& tensor, uint64_t byte_size) {
  return base::unavailable("the shared memory of instance '" + context.instance_name +
                           "' is exhausted: output '" + tensor.name() + "' of " +
                           std::to_string(byte_size) + " bytes does not fit into what is left of " +
                           std::to_string(context.executor->link()->memory()->budget_bytes()) +
                           " bytes");
}

// Writes one table; what it refers to in the own region is added to `buffers`.
class ResponseWriter {
 public:
  ResponseWriter(const instance::Request& request, const InstanceContext& context)
      : request_(request), context_(context), memory_(*context.executor->link()->memory()) {}

  base::Status write(const InferenceResponse& response) {
    for (const std::shared_ptr<Tensor>& tensor : response.outputs()) {
      const std::optional<uint16_t> index = context_.output_index(tensor->name());
      if (!index || !request_.wants(tensor->name())) continue;
      shm::Location location;
      const base::Status status = place(*tensor, &location);
      if (!status.ok()) return status;
      table_.add_output(tensor->name(), *index, tensor->datatype(), tensor->shape(), location);
    }
    for (const shm::Parameter& parameter : response.parameters()) table_.add_parameter(parameter);
    return {};
  }

  std::span<const uint8_t> finish() { return table_.finish(); }
  std::vector<instance::BufferRef> take_buffers() { return std::move(buffers_); }

 private:
  base::Status place(const Tensor& tensor, shm::Location* location) {
    if (tensor.object_array()) return place_objects(tensor, location);
    const std::span<const uint8_t> bytes = tensor.bytes();
    if (const auto found = request_.locate(bytes.data(), bytes.size()); found && !bytes.empty()) {
      *location = *found;
      return {};
    }
    std::unique_ptr<instance::Hold> hold;  // of another request's input, while we copy from it
    if (tensor.request() != nullptr && (hold = instance::Hold::take(tensor.request())) == nullptr) {
      return base::internal_error("output '" + tensor.name() +
                                  "' is an input of a request that was released");
    }
    if (tensor.buffer() != nullptr && tensor.buffer()->memory() == &memory_) {
      tensor.seal();
      *location = shm::Location{shm::Place::kRegion, memory_.peer(), tensor.buffer()->offset(),
                                bytes.size()};
      buffers_.push_back(tensor.buffer());
      return {};
    }
    uint8_t* target = reserve(bytes.size(), location);
    if (target == nullptr) return exhausted(context_, tensor, bytes.size());
    if (bytes.size() >= kReleaseGilBytes) {
      const py::gil_scoped_release released;
      std::memcpy(target, bytes.data(), bytes.size());
    } else if (!bytes.empty()) {
      std::memcpy(target, bytes.data(), bytes.size());
    }
    return {};
  }

  base::Status place_objects(const Tensor& tensor, shm::Location* location) {
    const BytesElements elements(py::reinterpret_borrow<py::array>(tensor.object_array()));
    uint8_t* target = reserve(elements.wire_bytes(), location);
    if (target == nullptr) return exhausted(context_, tensor, elements.wire_bytes());
    elements.write(target);
    return {};
  }

  uint8_t* reserve(uint64_t byte_size, shm::Location* location) {
    instance::BufferRef buffer = memory_.make_buffer(byte_size);
    if (buffer == nullptr) return nullptr;
    *location = shm::Location{shm::Place::kRegion, memory_.peer(), buffer->offset(), byte_size};
    buffers_.push_back(std::move(buffer));
    return buffers_.back()->data();
  }

  const instance::Request& request_;
  const InstanceContext& context_;
  instance::Memory& memory_;
  shm::ResponseBuilder table_;
  std::vector<instance::BufferRef> buffers_;
};

}  // namespace

std::optional<uint16_t> InstanceContext::output_index(std::string_view name) const {
  const auto found = std::find(outputs.begin(), outputs.end(), name);
  if (found == outputs.end()) return std::nullopt;
  return static_cast<uint16_t>(found - outputs.begin());
}

TritonError::TritonError(std::string message, int code)
    : message_(std::move(message)), code_(code) {
  if (code < 0 || code > base::kMaxCode)
    throw py::value_error("no TritonError has the code " + std::to_string(code));
}

InferenceResponse::InferenceResponse(std::vector<std::shared_ptr<Tensor>> outputs,
                                     std::shared_ptr<TritonError> error,
                                     const py::object& parameters)
    : outputs_(std::move(outputs)), error_(std::move(error)) {
  for (const std::shared_ptr<Tensor>& output : outputs_) {
    if (output == nullptr) {
      throw TritonModelException("Output tensor for inference response should not be empty.");
    }
  }
  if (parameters.is_none()) return;
  parameters_ = parameters_from(parameters, "InferenceResponse");
  parameters_dict_ = parameters;
}

std::vector<shm::Parameter> parameters_from(const py::object& given, const char* whose) {
  std::vector<shm::Parameter> parameters;
  if (given.is_none()) return parameters;
  if (!py::isinstance<py::dict>(given)) {
    throw TritonModelException(std::string(whose) + " parameters must be a dict, found type " +
                               type_text(given));
  }
  for (const auto& [key, value] : py::reinterpret_borrow<py::dict>(given))
    parameters.push_back(parameter_from(key, value));
  return parameters;
}

std::string InferenceResponse::parameters_json() const {
  return parameters_dict_ ? to_json(parameters_dict_) : std::string();
}

void send_response(instance::Request& request, const InstanceContext& context,
                   std::shared_ptr<InferenceResponse> response, bool final) {
  instance::Link& link = *context.executor->link();
  if (const std::shared_ptr<TritonError> error = response->error()) {
    response.reset();
    return link.fail(request,
                     base::Status(static_cast<base::Code>(error->code()), error->message()), final);
  }
  ResponseWriter writer(request, context);
  const base::Status status = writer.write(*response);
  response.reset();
  if (!status.ok()) return link.fail(request, status, final);
  link.respond(request, writer.finish(), writer.take_buffers(), final);
}

void ResponseSender::send(const std::shared_ptr<InferenceResponse>& response, uint32_t flags) {
  const auto refuse = [](const char* why) {
    throw TritonModelException(std::string("Unable to send response. ") + why);
  };
  if ((flags & ~kCompleteFinal) != 0) refuse("Unsupported flag provided.");
  if (response == nullptr && flags == 0) {
    refuse("Inference Response object must be provided when the response flags is set to zero.");
  }
  if (context_ == nullptr)
    refuse("Response sender has no reference to the decoupled state of the model.");
  if (!context_->decoupled) {
    if (response != nullptr && sent_)
      refuse("Non-decoupled model cannot send more than one response.");
    if (response == nullptr && !sent_) {
      refuse("Non-decoupled model cannot send complete final before sending a response.");
    }
  }
  if (closed_) refuse("Response sender has been closed.");
  closed_ = flags == kCompleteFinal;
  if (sent_ && response != nullptr) {
    const py::gil_scoped_release released;
    context_->executor->wait_for_room(*request_);
  }
  if (response != nullptr) {
    // The one response of a model that is not decoupled is its last, whether the flag comes with it
    // or later.
    send_response(*request_, *context_, response, closed_ || !context_->decoupled);
    sent_ = true;
  } else {
    request_->link()->finish(*request_);
  }
  request_->link()->flush();
  context_->executor->poll();  // frees what came back meanwhile
}

bool ResponseSender::is_cancelled() const {
  context_->executor->poll();
  return request_->cancelled();
}

bool ResponseSender::has_room() const {
  context_->executor->poll();
  return !request_->link()->crowded(*request_);
}

const std::vector<std::shared_ptr<Tensor>>& InferenceRequest::inputs() {
  if (inputs_.empty()) {
    inputs_.reserve(request_->inputs().size());
    for (const instance::Input& input : request_->inputs()) {
      inputs_.push_back(std::make_shared<Tensor>(request_, input));
    }
  }
  return inputs_;
}

std::shared_ptr<Tensor> InferenceRequest::input(std::string_view name) {
  for (const std::shared_ptr<Tensor>& tensor : inputs()) {
    if (tensor->name() == name) return tensor;
  }
  return nullptr;
}

std::vector<std::string> InferenceRequest::requested_output_names() const {
  const shm::RequestView& table = request_->table();
  if (request_->null_request()) return {};
  if (table.outputs().empty()) return context_->sorted_outputs;
  std::vector<std::string> names;
  for (const shm::OutputEntry& entry : table.outputs()) names.emplace_back(table.text(entry.name));
  return names;
}

py::object InferenceRequest::correlation_id() const {
  const shm::RequestView& table = request_->table();
  if (request_->null_request()) return py::int_(0);
  if (!table.correlation_text().empty()) return py::cast(table.correlation_text());
  return py::int_(table.header().correlation_id);
}

py::dict InferenceRequest::parameters() const {
  py::dict made;
  const shm::RequestView& table = request_->table();
  if (request_->null_request()) return made;
  for (const shm::ParameterEntry& entry : table.parameters()) {
    const shm::Parameter parameter = table.parameter(entry);
    made[py::str(parameter.key)] =
        std::visit([](const auto& value) { return py::object(py::cast(value)); }, parameter.value);
  }
  return made;
}

void InferenceRequest::set_release_flags(uint32_t flags) {
  constexpr uint32_t kReschedule = 2;
  if (flags > kReschedule) {
    throw TritonModelException("Unable to set release flags. Unsupported flags " +
                               std::to_string(flags) + ".");
  }
  wants_reschedule_ = flags == kReschedule;
}

bool InferenceRequest::is_cancelled() const {
  context_->executor->poll();
  return request_->cancelled();
}

std::shared_ptr<ResponseSender> InferenceRequest::response_sender() {
  // One for all callers: two would each believe that nothing has been sent yet.
  if (sender_ == nullptr) sender_ = std::make_shared<ResponseSender>(request_, context_);
  return sender_;
}

namespace {

// By hand, because pybind11's conversion of lists costs more than all the rest of a response.
std::vector<std::shared_ptr<Tensor>> tensors_from(const py::object& outputs) {
  const auto items = py::reinterpret_steal<py::object>(
      PySequence_Fast(outputs.ptr(), "output_tensors must be a list of Tensors"));
  if (!items) throw py::error_already_set();
  const auto count = static_cast<size_t>(PySequence_Fast_GET_SIZE(items.ptr()));
  std::vector<std::shared_ptr<Tensor>> tensors;
  tensors.reserve(count);
  for (size_t index = 0; index < count; ++index) {
    const py::handle item = PySequence_Fast_GET_ITEM(items.ptr(), static_cast<Py_ssize_t>(index));
    if (!item.is_none() && !py::isinstance<Tensor>(item)) {
      throw py::type_error("output_tensors must be a list of Tensors, found type " +
                           type_text(item));
    }
    tensors.push_back(item.cast<std::shared_ptr<Tensor>>());
  }
  return tensors;
}

// pybind11 tries everything else before it takes None for a null pointer; that costs microseconds.
std::shared_ptr<TritonError> error_from(const py::object& error) {
  if (error.is_none()) return nullptr;
  if (!py::isinstance<TritonError>(error)) {
    throw py::type_error("error must be a TritonError, found type " + type_text(error));
  }
  return error.cast<std::shared_ptr<TritonError>>();
}

// The codes as Python has them: they know their names, as Triton's do, and equal their numbers.
enum ErrorCode : int {};

void bind_response(py::module_& module) {
  py::class_<TritonError, std::shared_ptr<TritonError>> error(
      module, "TritonError", "An error with one of Triton's codes.");
  py::enum_<ErrorCode> codes(error, "__ErrorCode");
  const char* const names[] = {"UNKNOWN",     "INTERNAL",    "NOT_FOUND",      "INVALID_ARG",
                               "UNAVAILABLE", "UNSUPPORTED", "ALREADY_EXISTS", "CANCELLED"};
  for (int code = 0; code <= base::kMaxCode; ++code)
    codes.value(names[code], static_cast<ErrorCode>(code));
  codes.export_values();
  error
      .def(py::init<std::string, int>(), py::arg("message"),
           py::arg("code") = static_cast<int>(base::Code::kInternal))
      .def("message", &TritonError::message)
      .def("code", [](const TritonError& self) { return static_cast<ErrorCode>(self.code()); });
  py::class_<InferenceResponse, std::shared_ptr<InferenceResponse>>(module, "InferenceResponse",
                                                                    "One answer to one request.")
      .def(py::init([](const py::object& outputs, const py::object& error,
                       const py::object& parameters) {
             return std::make_shared<InferenceResponse>(tensors_from(outputs), error_from(error),
                                                        parameters);
           }),
           py::arg("output_tensors") = py::tuple(), py::arg("error") = py::none(),
           py::arg("parameters") = py::none())
      .def("output_tensors", &InferenceResponse::outputs)
      .def("has_error",
           [](const InferenceResponse& response) { return response.error() != nullptr; })
      .def("error", &InferenceResponse::error)
      .def("parameters", &InferenceResponse::parameters_json,
           "JSON text; empty without parameters.");
  py::class_<ResponseSender, std::shared_ptr<ResponseSender>>(
      module, "InferenceResponseSender", "Sends responses of one request, from any thread.")
      .def("send", &ResponseSender::send, py::arg("response") = py::none(), py::arg("flags") = 0)
      .def("is_cancelled", &ResponseSender::is_cancelled)
      .def("has_room", &ResponseSender::has_room,
           "Whether send() would go through at once; ours alone.");
}

}  // namespace

void bind_inference_request(py::module_& module) {
  bind_response(module);
  py::class_<InferenceRequest, std::shared_ptr<InferenceRequest>>(
      module, "InferenceRequest", "One inference call, as the model sees it.")
      .def("inputs", &InferenceRequest::inputs)
      .def("request_id", &InferenceRequest::request_id)
      .def("correlation_id", &InferenceRequest::correlation_id,
           "An int, or a str where the client gave text.")
      .def("flags", &InferenceRequest::flags)
      .def("set_flags", &InferenceRequest::set_flags, py::arg("flags"))
      .def("timeout", &InferenceRequest::timeout_us, "In microseconds; 0: none.")
      .def(
          "parameters",
          [](const InferenceRequest& request) { return to_json(request.parameters()); },
          "JSON text.")
      .def("requested_output_names", &InferenceRequest::requested_output_names)
      .def(
          "fail",
          [](const InferenceRequest& request, const std::string& message) {
            if (request.native() == nullptr) return;
            instance::Link& link = *request.native()->link();
            link.fail(*request.native(), base::internal_error(message));
            link.flush();
          },
          py::arg("message"), "For the backend: answers with an error unless it is answered.")
      .def("is_cancelled", &InferenceRequest::is_cancelled)
      .def("set_release_flags", &InferenceRequest::set_release_flags, py::arg("flags"),
           "TRITONSERVER_REQUEST_RELEASE_ALL or _RESCHEDULE: what becomes of it after execute.")
      .def("get_response_sender", &InferenceRequest::response_sender);
  module.def(
      "get_input_tensor_by_name",
      [](InferenceRequest& request, const std::string& name) { return request.input(name); },
      py::arg("inference_request"), py::arg("name"), "The input, or None.");
  module.def(
      "get_output_tensor_by_name",
      [](const InferenceResponse& response, const std::string& name) -> std::shared_ptr<Tensor> {
        for (const std::shared_ptr<Tensor>& tensor : response.outputs()) {
          if (tensor->name() == name) return tensor;
        }
        return nullptr;
      },
      py::arg("inference_response"), py::arg("name"), "The output, or None.");
}

}  // namespace pyserver::bindings
