// Calls for asyncio: a future per call, and per event loop one descriptor that says which of them are ready.
#include <pybind11/pybind11.h>

#include <unordered_map>
#include <utility>

#include "bindings/bindings.h"
#include "bindings/calls.h"

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
    waiting_.emplace(ticket, Waiting{std::move(call), decoupled, std::move(future)});
  }

  void readable() {
    for (const uint64_t ticket : completions_->take()) {
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
  std::unordered_map<uint64_t, Waiting> waiting_;
};

std::shared_ptr<LoopWatch> watch_of(const py::object& loop) {
  const py::dict watches = py::module_::import("pyserver._core").attr(kWatches);
  if (watches.contains(loop)) return watches[loop].cast<std::shared_ptr<LoopWatch>>();
  const auto known = py::reinterpret_steal<py::list>(PyDict_Keys(watches.ptr()));
  for (const py::handle& other : known) {
    if (other.attr("is_closed")().cast<bool>()) watches.attr("pop")(other);
  }
  auto made = std::make_shared<LoopWatch>();
  const py::object watch = py::cast(made);
  loop.attr("add_reader")(made->completions()->fd(), watch.attr("readable"));
  watches[loop] = watch;
  return made;
}

}  // namespace

py::object call_future(const MadeRequest& request, bool decoupled) {
  const py::object loop = py::module_::import("asyncio").attr("get_running_loop")();
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
}

}  // namespace pyserver::bindings
