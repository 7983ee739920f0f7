// The instance for Python: regions of the process, the executor, its batches, and memory for
// outputs.
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
#include "bindings/inference_request.h"
#include "bindings/numpy_types.h"
#include "bindings/tensor.h"
#include "instance/executor.h"
#include "instance/gather.h"
#include "instance/identity.h"
#include "shm/peer.h"

namespace pyserver::bindings {

namespace py = pybind11;

namespace {

// A place for one output of a batch in the instance's own region.
struct OutputBuffer {
  instance::BufferRef buffer;
  std::vector<uint64_t> row_offsets;  // of BYTES, whose rows differ in size
};

// What an instance's batches leave to each other: storage, to spare the allocator.
struct Workspace {
  instance::Gatherer gatherer;
  instance::Batch batch;
  std::vector<std::shared_ptr<InferenceRequest>> requests;
};

// A batch in Python's hands. It belongs to the instance's thread.
class PyBatch {
 public:
  // Takes the batch out of the workspace.
  PyBatch(ContextRef context, std::shared_ptr<Workspace> workspace)
      : batch_(std::move(workspace->batch)),
        context_(std::move(context)),
        workspace_(std::move(workspace)),
        requests_(std::move(workspace_->requests)) {}
  ~PyBatch() { done(); }

  uint32_t batch_size() const { return batch_.batch_size; }
  size_t request_count() const { return batch_.requests.size(); }

  const std::vector<std::shared_ptr<InferenceRequest>>& requests() {
    if (requests_.empty()) {
      requests_.reserve(batch_.requests.size());
      for (const instance::RequestRef& request : batch_.requests) {
        requests_.push_back(std::make_shared<InferenceRequest>(request, context_));
      }
    }
    return requests_;
  }

  // (address, bytes, shape, datatype number), or None when the batch does not have the input.
  py::object gather(const std::string& input, size_t slot) {
    const instance::Gathered gathered = gather_native(input, slot);
    if (!gathered.present) return py::none();
    return py::make_tuple(reinterpret_cast<uintptr_t>(gathered.bytes.data()), gathered.bytes.size(),
                          gathered.shape, static_cast<int>(gathered.datatype));
  }

  py::object gather_array(const std::string& input, size_t slot) {
    const instance::Gathered gathered = gather_native(input, slot);
    if (!gathered.present) return py::none();
    if (gathered.datatype == base::Datatype::kBytes)
      return decode_bytes(input, gathered.shape, gathered.bytes);
    // The caller keeps the batch for as long as it uses the array: the batch itself is the base.
    return view_array(gathered.datatype, gathered.shape, gathered.bytes.data(), py::cast(this),
                      false);
  }

  std::vector<std::string> wanted_outputs() const {
    std::vector<std::string> names;
    for (const std::string& name : context_->outputs) {
      if (std::any_of(batch_.requests.begin(), batch_.requests.end(),
                      [&](const auto& request) { return request->wants(name); })) {
        names.push_back(name);
      }
    }
    return names;
  }

  OutputBuffer allocate(uint64_t byte_size) const {
    instance::BufferRef buffer = context_->executor->link()->memory()->make_buffer(byte_size);
    if (buffer == nullptr) {
      raise_if_error(base::unavailable("the shared memory of instance '" + context_->instance_name +
                                       "' is exhausted: " + std::to_string(byte_size) +
                                       " bytes of outputs do not fit"));
    }
    return {std::move(buffer), {}};
  }

  OutputBuffer encode(const py::array& array) const {
    const BytesElements elements(plain_array(array));
    OutputBuffer made = allocate(elements.wire_bytes());
    const size_t rows = array.ndim() > 0 ? static_cast<size_t>(array.shape(0)) : 1;
    const size_t per_row = rows == 0 ? 0 : elements.size() / rows;
    elements.write(made.buffer->data(), per_row, &made.row_offsets);
    // Rows without elements are all empty.
    if (per_row == 0) made.row_offsets.assign(rows + 1, 0);
    return made;
  }

  // outputs: (name, datatype number, shape, OutputBuffer).
  void scatter(const py::list& outputs, bool whole) {
    std::vector<instance::BatchOutput> native;
    native.reserve(outputs.size());
    for (const py::handle& item : outputs) {
      const auto fields = py::reinterpret_borrow<py::tuple>(item);
      const auto name = fields[0].cast<std::string>();
      const std::optional<uint16_t> index = context_->output_index(name);
      if (!index) continue;
      const auto& buffer = fields[3].cast<const OutputBuffer&>();
      native.push_back({name, *index, static_cast<base::Datatype>(fields[1].cast<uint8_t>()),
                        fields[2].cast<std::vector<int64_t>>(), buffer.buffer, buffer.row_offsets});
    }
    raise_if_error(instance::scatter(batch_, native, whole));
  }

  // `responses`: what execute() returned, one per request, or None where a response sender answers.
  // Both lists are emptied, so that what only they kept alive is gone before the requests are
  // released. Raises before anything is sent.
  void answer(const py::list& given_requests, const py::list& responses) {
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

  // Gives back those that the model wants once more.
  void reschedule() {
    for (size_t index = 0; index < requests_.size(); ++index) {
      if (requests_[index] == nullptr || !requests_[index]->wants_reschedule()) continue;
      instance::Request& request = *batch_.requests[index];
      request.link()->reschedule(request);
    }
  }

  // Answers everything that has no final response yet.
  void fail(int code, const std::string& message) {
    for (const instance::RequestRef& request : batch_.requests) {
      request->link()->fail(*request, base::Status(static_cast<base::Code>(code), message));
    }
  }

  // For a model whose senders answer: lets the requests go without judging them.
  void mark_input_end() { batch_.input_end_ns = base::monotonic_ns(); }
  void mark_output_start() { batch_.output_start_ns = base::monotonic_ns(); }

  void done() {
    if (done_) return;
    done_ = true;
    requests_.clear();
    context_->executor->done(&batch_);
    workspace_->batch = std::move(batch_);
    workspace_->requests = std::move(requests_);
  }

 private:
  instance::Gathered gather_native(const std::string& input, size_t slot) {
    instance::Gathered gathered;
    base::Status status;
    {
      const py::gil_scoped_release released;
      status = workspace_->gatherer.gather(batch_, input, slot, &gathered);
    }
    raise_if_error(status);
    return gathered;
  }

  void check_responses(const py::list& responses) const {
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

  instance::Batch batch_;
  ContextRef context_;
  std::shared_ptr<Workspace> workspace_;
  std::vector<std::shared_ptr<InferenceRequest>> requests_;
  bool done_ = false;
};

instance::Controls controls_from(const py::list& given, bool batched) {
  instance::Controls controls;
  controls.batched = batched;
  const auto bytes = [](const py::handle& value) {
    const auto text = value.cast<std::string_view>();
    return std::vector<uint8_t>(text.begin(), text.end());
  };
  for (const py::handle& item : given) {
    const auto fields = py::reinterpret_borrow<py::tuple>(item);
    controls.specs.push_back({fields[0].cast<std::string>(),
                              static_cast<instance::ControlKind>(fields[1].cast<uint8_t>()),
                              static_cast<base::Datatype>(fields[2].cast<uint8_t>()),
                              bytes(fields[3]), bytes(fields[4])});
  }
  return controls;
}

class PyExecutor {
 public:
  PyExecutor(const std::vector<int>& fds, std::shared_ptr<shm::PeerRegions> regions,
             uint64_t budget_bytes, const std::string& instance_name,
             const std::vector<std::string>& outputs, bool decoupled, uint64_t max_unread)
      : workspace_(std::make_shared<Workspace>()) {
    if (fds.size() != 4)
      throw py::value_error("an instance has four descriptors: rings, two doorbells and a region");
    shm::ChannelFds channel{base::UniqueFd(fds[0]), base::UniqueFd(fds[1]), base::UniqueFd(fds[2])};
    std::unique_ptr<instance::Executor> executor;
    const base::Status status =
        instance::Executor::open(channel, fds[3], std::move(regions), budget_bytes, &executor);
    channel.rings.release();  // they stay the caller's
    channel.core_bell.release();
    channel.peer_bell.release();
    raise_if_error(status);
    executor->link()->limit_unread(max_unread);
    auto context = std::make_shared<InstanceContext>();
    context->executor = std::move(executor);
    context->instance_name = instance_name;
    context->outputs = outputs;
    context->sorted_outputs = outputs;
    std::sort(context->sorted_outputs.begin(), context->sorted_outputs.end());
    context->decoupled = decoupled;
    context_ = std::move(context);
  }

  void set_controls(const py::list& controls, bool batched) {
    context_->executor->set_controls(controls_from(controls, batched));
  }

  // None: stopped, or the time is over (then `stopped` is false).
  std::unique_ptr<PyBatch> next_batch(std::optional<double> timeout_s) {
    const uint64_t timeout_ns =
        timeout_s ? static_cast<uint64_t>(std::max(0.0, *timeout_s) * 1e9) : instance::kForever;
    instance::Wait wait = instance::Wait::kTimeout;
    {
      const py::gil_scoped_release released;
      wait = context_->executor->next_batch(timeout_ns, &workspace_->batch);
    }
    if (wait == instance::Wait::kBroken)
      raise_if_error(base::internal_error("core's ring is broken"));
    stopped_ = wait == instance::Wait::kStopped;
    if (wait != instance::Wait::kBatch) return nullptr;
    return std::make_unique<PyBatch>(context_, workspace_);
  }

  void run_identity(const std::vector<std::pair<std::string, std::string>>& pairs,
                    uint64_t execute_delay_ms) {
    instance::IdentityOptions options;
    options.execute_delay_ms = execute_delay_ms;
    for (const auto& [input, output] : pairs) {
      const std::optional<uint16_t> index = context_->output_index(output);
      if (!index) throw py::value_error("the model has no output '" + output + "'");
      options.pairs.push_back({input, output, *index});
    }
    base::Status status;
    {
      const py::gil_scoped_release released;
      status = instance::run_identity(*context_->executor, options);
    }
    raise_if_error(status);
  }

  bool stopped() const { return stopped_; }
  const InstanceContext& context() const { return *context_; }
  const instance::Gatherer& gatherer() const { return workspace_->gatherer; }

 private:
  ContextRef context_;
  std::shared_ptr<Workspace> workspace_;
  bool stopped_ = false;
};

py::dict counters(const PyExecutor& executor) {
  instance::Link& link = *executor.context().executor->link();
  py::dict made;
  made["leases"] = link.lease_count();
  made["requests"] = link.request_count();
  made["live_blocks"] = link.memory()->live_blocks();
  made["used_bytes"] = link.memory()->used_bytes();
  made["gathered_bytes"] = executor.gatherer().copied_bytes();
  return made;
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
      .def("gather", &PyBatch::gather, py::arg("input"), py::arg("slot"))
      .def("gather_array", &PyBatch::gather_array, py::arg("input"), py::arg("slot"))
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

}  // namespace

void bind_instance(py::module_& module) {
  bind_tensor(module);
  bind_inference_request(module);
  bind_batch(module);
  py::class_<shm::PeerRegions, std::shared_ptr<shm::PeerRegions>>(
      module, "PeerRegions", "Everybody else's regions, mapped for reading.")
      .def(py::init<>())
      .def(
          "add",
          [](shm::PeerRegions& regions, uint32_t peer, int fd) {
            raise_if_error(regions.add(peer, fd));
          },
          py::arg("peer"), py::arg("fd"))
      .def("retire", &shm::PeerRegions::retire, py::arg("peer"))
      .def("__len__", &shm::PeerRegions::size);
  py::class_<PyExecutor>(module, "Executor", "One instance's end of its channel to core.")
      .def(py::init<const std::vector<int>&, std::shared_ptr<shm::PeerRegions>, uint64_t,
                    const std::string&, const std::vector<std::string>&, bool, uint64_t>(),
           py::arg("fds"), py::arg("regions"), py::arg("budget_bytes"), py::arg("instance_name"),
           py::arg("outputs"), py::arg("decoupled"), py::arg("max_unread") = 0)
      .def("set_controls", &PyExecutor::set_controls, py::arg("controls"), py::arg("batched"),
           "[(name, kind, datatype number, bytes when false, bytes when true)], before the first "
           "batch; kinds as in ModelSequenceBatching.Control.")
      .def("next_batch", &PyExecutor::next_batch, py::arg("timeout_s") = py::none())
      .def("run_identity", &PyExecutor::run_identity, py::arg("pairs"), py::arg("execute_delay_ms"))
      .def(
          "stop", [](const PyExecutor& executor) { executor.context().executor->stop(); },
          "From any thread: next_batch() gives what has come, then None.")
      .def_property_readonly("stopped", &PyExecutor::stopped)
      .def_property_readonly(
          "peer", [](const PyExecutor& executor) { return executor.context().executor->peer(); })
      .def("counters", &counters);
}

}  // namespace pyserver::bindings
