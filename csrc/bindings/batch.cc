// A batch for Python: its requests, its inputs joined, its states, and places for its outputs.
#include "bindings/batch.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "bindings/bindings.h"
#include "bindings/bytes_array.h"
#include "bindings/numpy_types.h"

namespace pyserver::bindings {

namespace py = pybind11;

const std::vector<std::shared_ptr<InferenceRequest>>& PyBatch::requests() {
  if (requests_.empty()) {
    requests_.reserve(batch_.requests.size());
    for (const instance::RequestRef& request : batch_.requests) {
      requests_.push_back(std::make_shared<InferenceRequest>(request, context_));
    }
  }
  return requests_;
}

bool PyBatch::next_group() {
  if (workspace_->states.empty()) return !std::exchange(grouped_, true);
  if (!grouped_) {
    grouped_ = true;
    all_ = std::move(batch_.requests);
    workspace_->states.open(&all_, &groups_);
  }
  batch_.requests.clear();
  batch_.batch_size = 0;
  const size_t first = next_;
  for (; next_ < all_.size() && groups_[next_] == groups_[first]; ++next_) {
    batch_.batch_size += all_[next_]->batch_size();
    batch_.requests.push_back(std::move(all_[next_]));
  }
  return !batch_.requests.empty();
}

py::tuple PyBatch::gather_state(size_t state) {
  const instance::Gathered gathered = workspace_->states.input(batch_.requests, state);
  return py::make_tuple(reinterpret_cast<uintptr_t>(gathered.bytes.data()), gathered.shape);
}

py::object PyBatch::state_array(size_t state) {
  const instance::Gathered gathered = workspace_->states.input(batch_.requests, state);
  if (gathered.datatype == base::Datatype::kBytes) {
    return decode_bytes(workspace_->states.specs()[state].input, gathered.shape, gathered.bytes);
  }
  return view_array(gathered.datatype, gathered.shape, gathered.bytes.data(), py::cast(this),
                    false);
}

uintptr_t PyBatch::place_state(size_t state, std::vector<int64_t> shape, uint64_t byte_size) {
  check_state_rows(state, shape);
  return reinterpret_cast<uintptr_t>(
      workspace_->states.output(batch_.requests, state, std::move(shape), byte_size));
}

void PyBatch::put_state(size_t state, const py::array& given) {
  const py::array array = plain_array(given);
  std::vector<int64_t> shape(array.shape(), array.shape() + array.ndim());
  check_state_rows(state, shape);
  const std::vector<instance::RequestRef>& requests = batch_.requests;
  if (workspace_->states.specs()[state].datatype != base::Datatype::kBytes) {
    const auto byte_size = static_cast<uint64_t>(array.nbytes());
    uint8_t* place = workspace_->states.output(requests, state, std::move(shape), byte_size);
    if (byte_size > 0) std::memcpy(place, array.data(), byte_size);
    return;
  }
  const BytesElements elements(array);
  std::vector<uint8_t> bytes(elements.wire_bytes());
  std::vector<uint64_t> row_offsets;
  const size_t per_row = elements.size() / requests.size();
  elements.write(bytes.data(), per_row, &row_offsets);
  if (per_row == 0) row_offsets.assign(requests.size() + 1, 0);
  uint8_t* place = workspace_->states.output(requests, state, std::move(shape), bytes.size(),
                                             std::move(row_offsets));
  std::copy(bytes.begin(), bytes.end(), place);
}

py::object PyBatch::gather(const std::string& input, size_t slot, bool ragged) {
  const instance::Gathered gathered = gather_native(input, slot, ragged);
  if (!gathered.present) return py::none();
  return py::make_tuple(reinterpret_cast<uintptr_t>(gathered.bytes.data()), gathered.bytes.size(),
                        gathered.shape, static_cast<int>(gathered.datatype));
}

py::object PyBatch::gather_array(const std::string& input, size_t slot, bool ragged) {
  const instance::Gathered gathered = gather_native(input, slot, ragged);
  if (!gathered.present) return py::none();
  if (gathered.datatype == base::Datatype::kBytes)
    return decode_bytes(input, gathered.shape, gathered.bytes);
  // The caller keeps the batch for as long as it uses the array: the batch itself is the base.
  return view_array(gathered.datatype, gathered.shape, gathered.bytes.data(), py::cast(this),
                    false);
}

py::tuple PyBatch::batch_input(size_t number, uint8_t kind, const std::string& source,
                               uint8_t datatype) {
  if (kind > instance::kMaxBatchInputKind) throw py::value_error("no such kind of batch input");
  if (number >= workspace_->made_inputs.size()) workspace_->made_inputs.resize(number + 1);
  instance::MadeInput& made = workspace_->made_inputs[number];
  raise_if_error(instance::make_batch_input(batch_, static_cast<instance::BatchInputKind>(kind),
                                            source, static_cast<base::Datatype>(datatype), &made));
  return py::make_tuple(reinterpret_cast<uintptr_t>(made.bytes.data()), made.shape);
}

std::vector<std::string> PyBatch::wanted_outputs() const {
  std::vector<std::string> names;
  for (const std::string& name : context_->outputs) {
    if (std::any_of(batch_.requests.begin(), batch_.requests.end(),
                    [&](const auto& request) { return request->wants(name); })) {
      names.push_back(name);
    }
  }
  return names;
}

OutputBuffer PyBatch::allocate(uint64_t byte_size) const {
  instance::BufferRef buffer = context_->executor->link()->memory()->make_buffer(byte_size);
  if (buffer == nullptr) {
    raise_if_error(base::unavailable("the shared memory of instance '" + context_->instance_name +
                                     "' is exhausted: " + std::to_string(byte_size) +
                                     " bytes of outputs do not fit"));
  }
  return {std::move(buffer), {}};
}

OutputBuffer PyBatch::encode(const py::array& array) const {
  const BytesElements elements(plain_array(array));
  OutputBuffer made = allocate(elements.wire_bytes());
  const size_t rows = array.ndim() > 0 ? static_cast<size_t>(array.shape(0)) : 1;
  const size_t per_row = rows == 0 ? 0 : elements.size() / rows;
  elements.write(made.buffer->data(), per_row, &made.row_offsets);
  // Rows without elements are all empty.
  if (per_row == 0) made.row_offsets.assign(rows + 1, 0);
  return made;
}

void PyBatch::scatter(const py::list& outputs, bool whole) {
  std::vector<instance::BatchOutput> native;
  native.reserve(outputs.size());
  for (const py::handle& item : outputs) {
    const auto fields = py::reinterpret_borrow<py::tuple>(item);
    const auto name = fields[0].cast<std::string>();
    const std::optional<uint16_t> index = context_->output_index(name);
    if (!index) continue;
    const auto& buffer = fields[3].cast<const OutputBuffer&>();
    native.push_back({name, *index, static_cast<base::Datatype>(fields[1].cast<uint8_t>()),
                      fields[2].cast<std::vector<int64_t>>(), buffer.buffer, buffer.row_offsets,
                      fields[4].cast<std::string>()});
  }
  raise_if_error(instance::scatter(batch_, native, whole));
}

void PyBatch::answer(const py::list& given_requests, const py::list& responses) {
  requests();
  check_responses(responses);
  given_requests.attr("clear")();
  reschedule();
  for (size_t index = 0; index < batch_.requests.size(); ++index) {
    if (responses[index].is_none()) continue;
    auto response = responses[index].cast<std::shared_ptr<InferenceResponse>>();
    responses[index] = py::none();
    instance::Request& request = *batch_.requests[index];
    requests_[index].reset();
    if (!request.answered()) send_response(request, *context_, std::move(response), true);
  }
}

void PyBatch::reschedule() {
  for (size_t index = 0; index < requests_.size(); ++index) {
    if (requests_[index] == nullptr || !requests_[index]->wants_reschedule()) continue;
    instance::Request& request = *batch_.requests[index];
    request.link()->reschedule(request);
  }
}

void PyBatch::fail(int code, const std::string& message) {
  for (const instance::RequestRef& request : batch_.requests) {
    request->link()->fail(*request, base::Status(static_cast<base::Code>(code), message));
  }
}

void PyBatch::mark_input_end() { batch_.input_end_ns = base::monotonic_ns(); }
void PyBatch::mark_output_start() { batch_.output_start_ns = base::monotonic_ns(); }

void PyBatch::done() {
  if (done_) return;
  done_ = true;
  requests_.clear();
  context_->executor->done(&batch_);
  workspace_->batch = std::move(batch_);
  workspace_->requests = std::move(requests_);
}

void PyBatch::check_state_rows(size_t state, const std::vector<int64_t>& shape) const {
  const auto rows = static_cast<int64_t>(batch_.requests.size());
  if (rows == 1 || (!shape.empty() && shape[0] == rows)) return;
  raise_if_error(base::internal_error("state '" + workspace_->states.specs()[state].output +
                                      "' has shape " + instance::shape_text(shape) +
                                      ", but its first dimension must be the batch size " +
                                      std::to_string(rows)));
}

instance::Gathered PyBatch::gather_native(const std::string& input, size_t slot, bool ragged) {
  instance::Gathered gathered;
  base::Status status;
  {
    const py::gil_scoped_release released;
    status = ragged ? workspace_->gatherer.gather_ragged(batch_, input, slot, &gathered)
                    : workspace_->gatherer.gather(batch_, input, slot, &gathered);
  }
  raise_if_error(status);
  return gathered;
}

void PyBatch::check_responses(const py::list& responses) const {
  if (responses.size() != batch_.requests.size()) {
    throw TritonModelException(
        "Number of InferenceResponse objects do not match the number of InferenceRequest "
        "objects. "
        "InferenceRequest(s) size is:" +
        std::to_string(batch_.requests.size()) +
        ", and InferenceResponse(s) size is:" + std::to_string(responses.size()) + "\n");
  }
  for (size_t index = 0; index < responses.size(); ++index) {
    const py::handle response = responses[index];
    if (py::isinstance<InferenceResponse>(response)) continue;
    if (response.is_none() &&
        (requests_[index]->has_sender() || requests_[index]->wants_reschedule()))
      continue;
    throw TritonModelException(
        "Expected an 'InferenceResponse' object in the execute function return list, found type "
        "'" +
        py::str(py::type::handle_of(response)).cast<std::string>() + "'.");
  }
}

void bind_batch(py::module_& module) {
  py::class_<OutputBuffer>(module, "OutputBuffer",
                           "A place in the instance's region for one output of a batch.")
      .def_property_readonly("address",
                             [](const OutputBuffer& output) {
                               return reinterpret_cast<uintptr_t>(output.buffer->data());
                             })
      .def_property_readonly("byte_size",
                             [](const OutputBuffer& output) { return output.buffer->byte_size(); })
      .def(
          "copy_from",
          [](OutputBuffer& output, uintptr_t address) {
            const py::gil_scoped_release released;
            if (output.buffer->byte_size() > 0) {
              std::memcpy(output.buffer->data(), reinterpret_cast<const void*>(address),
                          output.buffer->byte_size());
            }
          },
          py::arg("address"), "Fills the whole place from memory of this process.");
  py::class_<PyBatch>(module, "Batch", "Requests to be executed together.")
      .def_property_readonly("requests", &PyBatch::requests)
      .def_property_readonly("batch_size", &PyBatch::batch_size, "Rows of all requests.")
      .def("__len__", &PyBatch::request_count)
      .def("next_group", &PyBatch::next_group,
           "Narrows the batch to its next requests that can be executed together.")
      .def("gather_state", &PyBatch::gather_state, py::arg("state"),
           "(address, shape) of a state as the model takes it.")
      .def("state_array", &PyBatch::state_array, py::arg("state"))
      .def("place_state", &PyBatch::place_state, py::arg("state"), py::arg("shape"),
           py::arg("byte_size"), "The address where the model writes the new state.")
      .def("put_state", &PyBatch::put_state, py::arg("state"), py::arg("array"))
      .def("commit_states", &PyBatch::commit_states, "What was written is the state from now on.")
      .def("gather", &PyBatch::gather, py::arg("input"), py::arg("slot"), py::arg("ragged") = false)
      .def("gather_array", &PyBatch::gather_array, py::arg("input"), py::arg("slot"),
           py::arg("ragged") = false)
      .def("batch_input", &PyBatch::batch_input, py::arg("number"), py::arg("kind"),
           py::arg("source"), py::arg("datatype"))
      .def("wanted_outputs", &PyBatch::wanted_outputs,
           "The outputs that any of the requests wants, in config order.")
      .def("allocate", &PyBatch::allocate, py::arg("byte_size"))
      .def("encode", &PyBatch::encode, py::arg("array"),
           "A BYTES output: an object array in wire form.")
      .def("scatter", &PyBatch::scatter, py::arg("outputs"), py::arg("whole"))
      .def("answer", &PyBatch::answer, py::arg("requests"), py::arg("responses"))
      .def("reschedule", &PyBatch::reschedule,
           "Gives back the requests that are to be executed once more.")
      .def("fail", &PyBatch::fail, py::arg("code"), py::arg("message"))
      .def("mark_input_end", &PyBatch::mark_input_end)
      .def("mark_output_start", &PyBatch::mark_output_start)
      .def("done", &PyBatch::done);
}

}  // namespace pyserver::bindings
