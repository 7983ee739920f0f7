// The gateway for Python: the frontend role hands it sockets and the control plane's messages; run() holds no GIL.
#include "gateway/gateway.h"

#include <fcntl.h>
#include <pybind11/functional.h>
#include <pybind11/stl.h>
#include <signal.h>
#include <sys/prctl.h>

#include <cstdio>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bindings/bindings.h"

namespace pyserver::bindings {

namespace py = pybind11;

namespace {

// {category: (header, value)}
std::map<std::string, gateway::Restriction, std::less<>> restrictions_from(const py::dict& given) {
  std::map<std::string, gateway::Restriction, std::less<>> made;
  for (const auto& [key, value] : given) {
    const auto category = key.cast<std::string>();
    if (!gateway::category_named(category)) {
      throw py::value_error("the API has no category '" + category + "'");
    }
    const auto pair = value.cast<std::pair<std::string, std::string>>();
    made[category] = {pair.first, pair.second};
  }
  return made;
}

// As the flag has it.
gateway::CompressionLevel compression_level_from(const std::string& name) {
  if (name == "none") return gateway::CompressionLevel::kNone;
  if (name == "low") return gateway::CompressionLevel::kLow;
  if (name == "medium") return gateway::CompressionLevel::kMedium;
  if (name == "high") return gateway::CompressionLevel::kHigh;
  throw py::value_error("there is no compression level '" + name + "'");
}

// Every member has a default; an unknown one is a mistake of ours.
gateway::GatewaySettings settings_from(const py::dict& given) {
  gateway::GatewaySettings settings;
  for (const auto& [key, value] : given) {
    const auto name = key.cast<std::string>();
    if (name == "max_input_bytes") {
      settings.max_input_bytes = value.cast<uint64_t>();
    } else if (name == "max_head_bytes") {
      settings.max_head_bytes = value.cast<uint32_t>();
    } else if (name == "max_connections") {
      settings.max_connections = value.cast<uint32_t>();
    } else if (name == "max_inflight") {
      settings.max_inflight = value.cast<uint32_t>();
    } else if (name == "load_timeout_s") {
      settings.load_timeout_s = value.cast<uint32_t>();
    } else if (name == "idle_timeout_s") {
      settings.idle_timeout_s = value.cast<uint32_t>();
    } else if (name == "head_timeout_s") {
      settings.head_timeout_s = value.cast<uint32_t>();
    } else if (name == "body_timeout_s") {
      settings.body_timeout_s = value.cast<uint32_t>();
    } else if (name == "write_timeout_s") {
      settings.write_timeout_s = value.cast<uint32_t>();
    } else if (name == "allow_http") {
      settings.serve_http = value.cast<bool>();
    } else if (name == "allow_grpc") {
      settings.grpc.serve = value.cast<bool>();
    } else if (name == "grpc_min_ping_interval_ns") {
      settings.grpc.min_ping_interval_ns = value.cast<uint64_t>();
    } else if (name == "grpc_max_ping_strikes") {
      settings.grpc.max_ping_strikes = value.cast<uint32_t>();
    } else if (name == "grpc_keepalive_s") {
      settings.grpc.keepalive_s = value.cast<uint32_t>();
    } else if (name == "grpc_keepalive_timeout_s") {
      settings.grpc.keepalive_timeout_s = value.cast<uint32_t>();
    } else if (name == "grpc_keepalive_without_calls") {
      settings.grpc.keepalive_without_calls = value.cast<bool>();
    } else if (name == "grpc_max_age_s") {
      settings.grpc.max_age_s = value.cast<uint32_t>();
    } else if (name == "grpc_max_age_grace_s") {
      settings.grpc.max_age_grace_s = value.cast<uint32_t>();
    } else if (name == "grpc_compression_level") {
      settings.grpc.compression_level = compression_level_from(value.cast<std::string>());
    } else if (name == "grpc_restrictions") {
      settings.grpc.restrictions = restrictions_from(value.cast<py::dict>());
    } else if (name == "restrictions") {
      settings.restrictions = restrictions_from(value.cast<py::dict>());
    } else {
      throw py::key_error("the gateway has no setting '" + name + "'");
    }
  }
  return settings;
}

// Calls Python when a descriptor is readable. An exception ends the loop and comes out of run().
class PythonWatcher final : public gateway::Watcher {
 public:
  PythonWatcher(gateway::Gateway* owner, py::function callback)
      : owner_(owner), callback_(std::move(callback)) {}

  void on_events(uint32_t) override {
    if (!active_) return;
    const py::gil_scoped_acquire held;
    // The callback may unwatch its own descriptor, and with it this object.
    gateway::Gateway* const owner = owner_;
    const py::function callback = callback_;
    std::exception_ptr* const error = error_;
    try {
      callback();
    } catch (py::error_already_set&) {
      if (*error == nullptr) *error = std::current_exception();
      owner->stop();
    }
  }

  void report_to(std::exception_ptr* error) { error_ = error; }
  void retire() { active_ = false; }

 private:
  gateway::Gateway* owner_;
  py::function callback_;
  std::exception_ptr* error_ = nullptr;
  bool active_ = true;
};

class PyGateway {
 public:
  explicit PyGateway(const py::dict& settings) : gateway_(settings_from(settings)) {
    raise_if_error(gateway_.open());
  }
  ~PyGateway() {
    for (auto& [fd, watcher] : watchers_) gateway_.loop.unwatch(fd);
  }

  void watch(int fd, py::function callback) {
    auto watcher = std::make_unique<PythonWatcher>(&gateway_, std::move(callback));
    watcher->report_to(&error_);
    raise_if_error(gateway_.loop.watch(fd, EPOLLIN, watcher.get()));
    watchers_[fd] = std::move(watcher);
  }

  // Its event may still be under way in this turn, so the watcher itself lives on.
  void unwatch(int fd) {
    const auto found = watchers_.find(fd);
    if (found == watchers_.end()) return;
    gateway_.loop.unwatch(fd);
    found->second->retire();
    retired_.push_back(std::move(found->second));
    watchers_.erase(found);
  }

  void attach(const std::vector<int>& fds, int control_fd) {
    if (fds.size() != 4)
      throw py::value_error("attach() wants rings, core's bell, our bell and our region");
    const py::gil_scoped_release released;
    const base::Status status = gateway_.attach(std::span<const int, 4>(fds.data(), 4), control_fd);
    if (status.ok()) return;
    const py::gil_scoped_acquire held;
    raise_if_error(status);
  }

  // The descriptor stays the caller's.
  void attach_grpc(int link_fd) {
    base::UniqueFd copy(::fcntl(link_fd, F_DUPFD_CLOEXEC, 0));
    if (!copy.valid()) throw py::value_error("attach_grpc() wants a descriptor");
    gateway_.attach_grpc(std::move(copy));
  }

  void on_want(py::function wants) {
    wants_ = std::move(wants);  // as with drain()
    gateway_.on_want([this](const std::string& name) {
      const py::gil_scoped_acquire held;
      try {
        wants_(name);
      } catch (py::error_already_set&) {
        if (error_ == nullptr) error_ = std::current_exception();
        gateway_.stop();
      }
    });
  }

  void refuse_model(const std::string& name, int code, const std::string& message) {
    gateway_.refuse_model(name, base::Status(static_cast<base::Code>(code), message));
  }

  void drain(py::function drained) {
    drained_ = std::move(
        drained);  // kept here, because the loop may drop its callback without holding the GIL
    gateway_.drain([this] {
      const py::gil_scoped_acquire held;
      try {
        drained_();
      } catch (py::error_already_set&) {
        if (error_ == nullptr) error_ = std::current_exception();
        gateway_.stop();
      }
    });
  }

  void run() {
    {
      const py::gil_scoped_release released;
      gateway_.run();
    }
    if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
  }

  py::dict counters() const {
    const gateway::Counters now = gateway_.snapshot();
    py::dict made;
    made["requests"] = now.requests;
    made["infer_requests"] = now.infer_requests;
    made["infer_refused"] = now.infer_refused;
    made["proxied"] = now.proxied;
    made["malformed"] = now.malformed;
    made["connections_accepted"] = now.connections_accepted;
    made["connections_open"] = now.connections_open;
    made["handshakes_failed"] = now.handshakes_failed;
    made["connections_refused"] = now.connections_refused;
    made["inflight"] = now.inflight;
    made["parked"] = now.parked;
    made["cancelled"] = now.cancelled;
    made["timeouts"] = now.timeouts;
    made["region_bytes"] = now.region_bytes;
    made["copied_bytes"] = now.copied_bytes;
    made["response_bytes"] = now.response_bytes;
    made["recv_calls"] = now.recv_calls;
    made["send_calls"] = now.send_calls;
    made["bad_replies"] = now.bad_replies;
    made["core_losses"] = now.core_losses;
    made["region_used_bytes"] = gateway_.used_bytes();
    made["region_live_blocks"] = gateway_.live_blocks();
    return made;
  }

  gateway::Gateway& gateway() { return gateway_; }

 private:
  gateway::Gateway gateway_;
  std::unordered_map<int, std::unique_ptr<PythonWatcher>> watchers_;
  std::vector<std::unique_ptr<PythonWatcher>> retired_;
  std::exception_ptr error_;
  py::function drained_;
  py::function wants_;
};

// Names the process and lets it die with its parent, whatever happens to that. False: the parent is gone already.
bool end_with_parent(const std::string& name, int parent) {
  ::prctl(PR_SET_NAME, name.c_str());
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  return ::getppid() == parent;
}

// C's own buffer; Python has another.
void line_buffer_stdout() { std::setvbuf(stdout, nullptr, _IOLBF, 0); }

}  // namespace

void bind_gateway(py::module_& module) {
  module.def("line_buffer_stdout", &line_buffer_stdout);
  module.def("end_with_parent", &end_with_parent, py::arg("name"), py::arg("parent"));
  py::class_<gateway::TlsContext, std::shared_ptr<gateway::TlsContext>>(
      module, "TlsContext", "What a listener's clients are shown and asked.")
      .def(py::init([](const std::string& certificate_path, const std::string& key_path,
                       const std::string& root_path, bool verify_client, bool http1, bool http2) {
             std::shared_ptr<gateway::TlsContext> made;
             raise_if_error(gateway::TlsContext::make(
                 {certificate_path, key_path, root_path, verify_client, http1, http2}, &made));
             return made;
           }),
           py::arg("certificate_path"), py::arg("key_path"), py::kw_only(),
           py::arg("root_path") = "", py::arg("verify_client") = false, py::arg("http1") = true,
           py::arg("http2") = true);
  py::class_<PyGateway>(module, "Gateway")
      .def(py::init<const py::dict&>(), py::arg("settings"))
      .def("watch", &PyGateway::watch, py::arg("fd"), py::arg("callback"))
      .def("unwatch", &PyGateway::unwatch, py::arg("fd"))
      .def(
          "add_listener",
          [](PyGateway& self, int fd, bool http1, bool http2, bool http_rules, bool grpc_rules,
             std::shared_ptr<const gateway::TlsContext> tls) {
            self.gateway().add_listener(base::UniqueFd(fd), {http1, http2, http_rules, grpc_rules},
                                        std::move(tls));
          },
          py::arg("fd"), py::kw_only(), py::arg("http1"), py::arg("http2"), py::arg("http_rules"),
          py::arg("grpc_rules"), py::arg("tls"))
      .def("attach", &PyGateway::attach, py::arg("fds"), py::arg("control_fd"))
      .def(
          "add_region",
          [](PyGateway& self, uint32_t peer, int fd) {
            raise_if_error(self.gateway().add_region(peer, fd));
          },
          py::arg("peer"), py::arg("fd"))
      .def("attach_grpc", &PyGateway::attach_grpc, py::arg("link_fd"))
      .def(
          "retire", [](PyGateway& self, uint32_t peer) { self.gateway().retire(peer); },
          py::arg("peer"))
      .def(
          "apply_model",
          [](PyGateway& self, const std::string& json) {
            raise_if_error(self.gateway().apply_model(json));
          },
          py::arg("json"))
      .def(
          "forget_model",
          [](PyGateway& self, const std::string& name) { self.gateway().forget_model(name); },
          py::arg("name"))
      .def("refuse_model", &PyGateway::refuse_model, py::arg("name"), py::arg("code"),
           py::arg("message"), "A model that was wanted was not loaded.")
      .def("on_want", &PyGateway::on_want, py::arg("wants"),
           "`wants(name)` hears of a model that requests wait for, between two turns.")
      .def(
          "set_live", [](PyGateway& self, bool live) { self.gateway().set_live(live); },
          py::arg("live"))
      .def("serve", [](PyGateway& self) { raise_if_error(self.gateway().serve()); })
      .def("core_lost", [](PyGateway& self) { self.gateway().core_lost(); })
      .def("drain", &PyGateway::drain, py::arg("drained"))
      .def(
          "end_streams", [](PyGateway& self) { self.gateway().end_streams(); },
          "Ends the streams of inference in which nothing is under way, now and from now on.")
      .def("run", &PyGateway::run)
      .def("stop", [](PyGateway& self) { self.gateway().stop(); })
      .def("counters", &PyGateway::counters);
}

}  // namespace pyserver::bindings
