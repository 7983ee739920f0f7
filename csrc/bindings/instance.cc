// The instance for Python: regions of the process, and the executor.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/batch.h"
#include "bindings/bindings.h"
#include "bindings/calls.h"
#include "bindings/inference_request.h"
#include "bindings/tensor.h"
#include "instance/executor.h"
#include "instance/identity.h"
#include "instance/states.h"
#include "shm/peer.h"

namespace pyserver::bindings {

namespace py = pybind11;

namespace {

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

std::vector<instance::StateSpec> states_from(const py::list& given) {
  std::vector<instance::StateSpec> specs;
  for (const py::handle& item : given) {
    const auto fields = py::reinterpret_borrow<py::tuple>(item);
    const auto initial = fields[4].cast<std::string_view>();
    specs.push_back({fields[0].cast<std::string>(), fields[1].cast<std::string>(),
                     static_cast<base::Datatype>(fields[2].cast<uint8_t>()),
                     fields[3].cast<std::vector<int64_t>>(),
                     std::vector<uint8_t>(initial.begin(), initial.end()), fields[5].cast<bool>()});
  }
  return specs;
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
    make_tensors_in(context->executor->link()->memory());
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

  void set_states(const py::list& states) {
    workspace_->states = instance::States(states_from(states));
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
      raise_if_error(base::internal_error(
          "core's ring is broken, or the descriptors that lead to core were closed"));
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

  void allow_calls(std::shared_ptr<Callees> callees) { context_->callees = std::move(callees); }
  void open_calls() { set_caller(context_); }
  void close_calls() {
    set_caller(nullptr);
    const py::gil_scoped_release released;
    context_->executor->end_calls();
  }

  void wait_for_return(double timeout_s) {
    const py::gil_scoped_release released;
    context_->executor->link()->flush();
    context_->executor->poll();
    context_->executor->link()->wait_for_return(static_cast<uint64_t>(timeout_s * 1e9));
  }

  bool stopped() const { return stopped_; }
  const InstanceContext& context() const { return *context_; }
  const instance::Gatherer& gatherer() const { return workspace_->gatherer; }
  const instance::States& states() const { return workspace_->states; }

 private:
  std::shared_ptr<InstanceContext> context_;
  std::shared_ptr<Workspace> workspace_;
  bool stopped_ = false;
};

py::dict counters(const PyExecutor& executor) {
  instance::Link& link = *executor.context().executor->link();
  py::dict made;
  made["leases"] = link.lease_count();
  made["requests"] = link.request_count();
  made["calls"] = executor.context().executor->calls()->count();
  made["call_copied_bytes"] = executor.context().executor->calls()->copied_bytes();
  made["live_blocks"] = link.memory()->live_blocks();
  made["used_bytes"] = link.memory()->used_bytes();
  made["gathered_bytes"] = executor.gatherer().copied_bytes();
  made["state_bytes"] = executor.states().held_bytes();
  made["state_copied_bytes"] = executor.states().copied_bytes();
  return made;
}

}  // namespace

void bind_instance(py::module_& module) {
  bind_tensor(module);
  bind_inference_request(module);
  bind_calls(module);
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
      .def("set_states", &PyExecutor::set_states, py::arg("states"),
           "[(input, output, datatype number, shape at the start, its bytes, same buffer)], before "
           "the first batch.")
      .def("allow_calls", &PyExecutor::allow_calls, py::arg("callees"),
           "Whom the model may call; nobody without it.")
      .def("open_calls", &PyExecutor::open_calls, "From now on the process's model calls for it.")
      .def("close_calls", &PyExecutor::close_calls)
      .def("next_batch", &PyExecutor::next_batch, py::arg("timeout_s") = py::none())
      .def("run_identity", &PyExecutor::run_identity, py::arg("pairs"), py::arg("execute_delay_ms"))
      .def(
          "stop", [](const PyExecutor& executor) { executor.context().executor->stop(); },
          "From any thread: next_batch() gives what has come, then None.")
      .def("wait_for_return", &PyExecutor::wait_for_return, py::arg("timeout_s"),
           "Until a client has taken a response, or a request is cancelled, or the time is over.")
      .def_property_readonly("stopped", &PyExecutor::stopped)
      .def_property_readonly(
          "peer", [](const PyExecutor& executor) { return executor.context().executor->peer(); })
      .def("counters", &counters);
}

}  // namespace pyserver::bindings
