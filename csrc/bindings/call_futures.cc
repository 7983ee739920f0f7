// Calls for asyncio: a future per call, and per event loop one descriptor that says which of them are ready.
#include <pybind11/gil_safe_call_once.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/calls.h"
#include "instance/executor.h"

namespace pyserver::bindings {

namespace py = pybind11;

namespace {

constexpr const char* kWatches = "_call_watches";

// One loop's calls that are not ready yet; used in that loop's thread.
class LoopWatch {
 public:
  LoopWatch() { raise_if_error(instance::Completions::make(&completions_)); }

  const std::shared_ptr<instance::Completions>& completions() const { return completions_; }

  void add(std::shared_ptr<PyCall> call, bool decoupled, py::object future) {
    const uint64_t ticket = call->ticket();
    context_ = call->context();
    waiting_.emplace(ticket, Waiting{std::move(call), decoupled, std::move(future)});
  }

  // Before the loop sleeps on the epoll `loop_fd` for at most `timeout_s`: whether it need not, since something has come.
  bool look_on(int loop_fd, std::optional<double> timeout_s) {
    if (context_ == nullptr) return false;
    bool found = false;
    {
      const py::gil_scoped_release released;
      const uint64_t timeout_ns =
          timeout_s ? static_cast<uint64_t>(*timeout_s * 1e9) : instance::kForever;
      found = context_->executor->look_on(*completions_, loop_fd, timeout_ns);
    }
    if (found) readable();
    return found;
  }

  void readable() {
    if (context_ == nullptr) return;
    std::vector<uint64_t> tickets;
    {
      const py::gil_scoped_release released;
      tickets = context_->executor->heard(*completions_);
    }
    for (const uint64_t ticket : tickets) {
      const auto found = waiting_.find(ticket);
      if (found == waiting_.end()) continue;  // a later response: the iterator sees it
      const Waiting ready = std::move(found->second);
      waiting_.erase(found);
      if (ready.future.attr("done")().cast<bool>()) continue;  // nobody awaits it any more
      ready.future.attr("set_result")(result_of(ready.call, ready.decoupled));
    }
  }

 private:
  struct Waiting {
    std::shared_ptr<PyCall> call;
    bool decoupled;
    py::object future;
  };
  std::shared_ptr<instance::Completions> completions_;
  ContextRef context_;  // of the call made last
  std::unordered_map<uint64_t, Waiting> waiting_;
};

const py::object& looked_up(py::gil_safe_call_once_and_store<py::object>& storage,
                            const char* module, const char* name) {
  return storage.call_once_and_store_result([&] { return py::module_::import(module).attr(name); })
      .get_stored();
}

py::object running_loop() {
  static py::gil_safe_call_once_and_store<py::object> storage;
  return looked_up(storage, "asyncio", "_get_running_loop")();
}

py::dict all_watches() {
  static py::gil_safe_call_once_and_store<py::object> storage;
  return looked_up(storage, "pyserver._core", kWatches);
}

// None, or the loop's.
py::object known_watch(const py::dict& watches, const py::object& loop) {
  PyObject* found = PyDict_GetItemWithError(watches.ptr(), loop.ptr());
  if (found == nullptr && PyErr_Occurred() != nullptr) throw py::error_already_set();
  return found == nullptr ? py::object(py::none()) : py::reinterpret_borrow<py::object>(found);
}

std::shared_ptr<LoopWatch> watch_of(const py::object& loop) {
  const py::dict watches = all_watches();
  if (const py::object known = known_watch(watches, loop); !known.is_none())
    return known.cast<std::shared_ptr<LoopWatch>>();
  const auto others = py::reinterpret_steal<py::list>(PyDict_Keys(watches.ptr()));
  for (const py::handle& other : others) {
    if (other.attr("is_closed")().cast<bool>()) watches.attr("pop")(other);
  }
  auto made = std::make_shared<LoopWatch>();
  const py::object watch = py::cast(made);
  loop.attr("add_reader")(made->completions()->fd(), watch.attr("readable"));
  watches[loop] = watch;
  return made;
}

bool look_on(int loop_fd, std::optional<double> timeout_s) {
  const py::object watch = known_watch(all_watches(), running_loop());
  return !watch.is_none() && watch.cast<LoopWatch&>().look_on(loop_fd, timeout_s);
}

}  // namespace

py::object call_future(const MadeRequest& request, bool decoupled) {
  const py::object loop = running_loop();
  if (loop.is_none()) throw std::runtime_error("no running event loop");
  const std::shared_ptr<LoopWatch> watch = watch_of(loop);
  const std::shared_ptr<PyCall> call = PyCall::start(request, decoupled, watch->completions());
  const py::object future = loop.attr("create_future")();
  if (call->ticket() == 0) {
    future.attr("set_result")(result_of(call, decoupled));
  } else {
    watch->add(call, decoupled, future);
  }
  return future;
}

void bind_call_futures(py::module_& module) {
  py::class_<LoopWatch, std::shared_ptr<LoopWatch>>(module, "LoopWatch", py::module_local())
      .def("readable", &LoopWatch::readable);
  module.attr(kWatches) = py::dict();  // by event loop
  module.def("look_on_for_calls", &look_on, py::arg("loop_fd"), py::arg("timeout_s"),
             "For the running event loop, before it sleeps on an epoll: true when it need not.");
}

}  // namespace pyserver::bindings
