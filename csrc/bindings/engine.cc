// The engine for Python: the control plane adds peers, models and instances, and reads statistics. All calls release the GIL while they wait.
#include "engine/engine.h"

#include <pybind11/stl.h>

#include <cstring>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/model_settings.h"
#include "engine/runner.h"

namespace pyserver::bindings {

namespace py = pybind11;

namespace {

engine::PeerKind kind_from(const std::string& name) {
  if (name == "frontend") return engine::PeerKind::kFrontend;
  if (name == "instance") return engine::PeerKind::kInstance;
  if (name == "control") return engine::PeerKind::kControl;
  throw py::value_error("a peer is a frontend, an instance or control, not '" + name + "'");
}

py::dict duration(const engine::Duration& figure) {
  py::dict made;
  made["count"] = figure.count;
  made["ns"] = figure.ns;
  return made;
}

// By the response's place among those of its request.
py::dict response_dict(const std::vector<engine::ResponseStatistics>& responses) {
  py::dict made;
  for (size_t index = 0; index < responses.size(); ++index) {
    const engine::ResponseStatistics& figures = responses[index];
    py::dict entry;
    entry["compute_infer"] = duration(figures.compute_infer);
    entry["compute_output"] = duration(figures.compute_output);
    entry["success"] = duration(figures.success);
    entry["fail"] = duration(figures.fail);
    entry["empty_response"] = duration(figures.empty_response);
    entry["cancel"] = duration(figures.cancel);
    made[py::str(std::to_string(index))] = std::move(entry);
  }
  return made;
}

py::dict statistics_dict(const engine::ModelStatistics& figures, uint64_t queued) {
  py::dict made;
  made["last_inference"] = figures.last_inference_ms;
  made["inference_count"] = figures.inference_count;
  made["execution_count"] = figures.execution_count;
  made["success"] = duration(figures.success);
  made["fail"] = duration(figures.fail);
  made["queue"] = duration(figures.queue);
  made["compute_input"] = duration(figures.compute_input);
  made["compute_infer"] = duration(figures.compute_infer);
  made["compute_output"] = duration(figures.compute_output);
  made["cache_hit"] = duration(figures.cache_hit);
  made["cache_miss"] = duration(figures.cache_miss);
  made["queued"] = queued;
  py::list batches;
  for (const auto& [rows, batch] : figures.batches) {
    py::dict entry;
    entry["batch_size"] = rows;
    entry["compute_input"] = duration(batch.compute_input);
    entry["compute_infer"] = duration(batch.compute_infer);
    entry["compute_output"] = duration(batch.compute_output);
    batches.append(std::move(entry));
  }
  made["batch_stats"] = std::move(batches);
  made["response_stats"] = response_dict(figures.responses);
  return made;
}

py::dict counters_dict(const engine::Counters& counters,
                       const engine::ResponseCache::Figures& cache) {
  py::dict made;
  made["waiting_for_cache"] = counters.waiting_for_cache;
  made["cache_entries"] = cache.entries;
  made["cache_bytes"] = cache.bytes;
  made["cache_lookups"] = cache.lookups;
  made["cache_hits"] = cache.hits;
  made["cache_evictions"] = cache.evictions;
  made["live_requests"] = counters.live_requests;
  made["queued_requests"] = counters.queued_requests;
  made["live_leases"] = counters.live_leases;
  made["live_batches"] = counters.live_batches;
  made["live_runs"] = counters.live_runs;
  made["ensemble_copied_bytes"] = counters.ensemble_copied_bytes;
  made["peers"] = counters.peers;
  made["models"] = counters.models;
  made["own_bytes"] = counters.own_bytes;
  made["violations"] = counters.violations;
  made["submitted"] = counters.submitted;
  made["refused"] = counters.refused;
  made["tried_again"] = counters.tried_again;
  return made;
}

py::bytes key_bytes(const engine::CacheKey& key) {
  const uint64_t halves[] = {key.low, key.high};
  return {reinterpret_cast<const char*>(halves), sizeof halves};
}

void cache_answer(engine::Runner& runner, uint32_t handle, const py::bytes& key,
                  const std::optional<std::string>& data) {
  const std::string_view given = key;
  engine::CacheKey wanted{handle, 0, 0};
  if (given.size() != 16) throw py::value_error("a key has 16 bytes");
  std::memcpy(&wanted.low, given.data(), 8);
  std::memcpy(&wanted.high, given.data() + 8, 8);
  const py::gil_scoped_release released;
  runner.call([&](engine::Engine& engine, uint64_t now_ns) {
    engine.cache_answer(wanted, data ? std::optional<std::string_view>(*data) : std::nullopt,
                        now_ns);
  });
}

py::tuple event_tuple(const engine::Event& event) {
  switch (event.kind) {
    case engine::Event::Kind::kIdle:
      return py::make_tuple("idle", event.id);
    case engine::Event::Kind::kDrained:
      return py::make_tuple("drained", event.id);
    case engine::Event::Kind::kCacheAsk:
      return py::make_tuple("cache_ask", event.id, key_bytes(event.key));
    case engine::Event::Kind::kCacheKeep:
      return py::make_tuple("cache_keep", event.id, key_bytes(event.key), py::bytes(event.message));
    case engine::Event::Kind::kWarmedUp:
      return py::make_tuple("warmed_up", event.id, event.message);
    case engine::Event::Kind::kQuiet:
      return py::make_tuple("quiet", event.id);
    case engine::Event::Kind::kBroken:
      break;
  }
  return py::make_tuple("broken", event.id, event.message);
}

// Runs a command in the engine's thread without holding the GIL.
template <typename Command>
void in_engine(engine::Runner& runner, Command command) {
  const py::gil_scoped_release released;
  runner.call(command);
}

// Name, count, and the device that it is said of.
using GivenLimit = std::tuple<std::string, uint64_t, std::optional<int32_t>>;

std::unique_ptr<engine::Runner> make_runner(
    uint64_t region_bytes, uint64_t budget_bytes, bool busy_poll, uint64_t cache_bytes,
    const std::optional<std::vector<GivenLimit>>& rate_limits) {
  std::unique_ptr<engine::Runner> runner;
  raise_if_error(engine::Runner::make(region_bytes, budget_bytes, cache_bytes, busy_poll, &runner));
  if (rate_limits) {
    std::vector<engine::ResourceLimit> limits;
    for (const auto& [name, count, device] : *rate_limits) limits.push_back({name, count, device});
    runner->call([&](engine::Engine& engine, uint64_t) { engine.limit_rates(std::move(limits)); });
  }
  return runner;
}

py::tuple make_peer(engine::Runner& runner, const std::string& kind, uint64_t region_bytes) {
  engine::Runner::PeerFds fds;
  const engine::PeerKind peer_kind = kind_from(kind);
  base::Status status;
  {
    const py::gil_scoped_release released;
    status = runner.make_peer(peer_kind, region_bytes, &fds);
  }
  raise_if_error(status);
  py::list given;
  given.append(fds.channel.rings.release());
  given.append(fds.channel.core_bell.release());
  given.append(fds.channel.peer_bell.release());
  given.append(fds.region.release());
  return py::make_tuple(fds.id, given);
}

void warm_up(engine::Runner& runner, uint32_t handle, uint32_t peer, const engine::WarmUp& sample) {
  base::Status status;
  {
    const py::gil_scoped_release released;
    status = runner.warm_up(handle, peer, sample);
  }
  raise_if_error(status);
}

py::dict statistics(engine::Runner& runner, uint32_t handle) {
  engine::ModelStatistics figures;
  uint64_t queued = 0;
  bool known = false;
  in_engine(runner, [&](engine::Engine& engine, uint64_t) {
    const engine::Model* model = engine.find_model(handle);
    if (model == nullptr) return;
    known = true;
    figures = model->statistics;
    queued = model->policy->queued();
  });
  if (!known) raise_if_error(base::not_found("no model has the handle " + std::to_string(handle)));
  return statistics_dict(figures, queued);
}

}  // namespace

void bind_engine(py::module_& module) {
  using engine::Engine;
  using engine::Runner;
  py::class_<Runner>(module, "Engine",
                     "Core's loop: rings in, policies, rings out, in a thread of its own.")
      .def(py::init(&make_runner), py::arg("region_bytes"), py::arg("budget_bytes"),
           py::arg("busy_poll") = true, py::arg("cache_bytes") = 0,
           py::arg("rate_limits") = py::none(),
           "`rate_limits` (name, count, device or None), also empty: instances take turns.")
      .def_property_readonly("region_fd", &Runner::region_fd,
                             "Core's own region (peer 0); stays the engine's.")
      .def_property_readonly("event_fd", &Runner::event_fd, "Readable when events() has something.")
      .def("start", &Runner::start)
      .def("stop", &Runner::stop, py::call_guard<py::gil_scoped_release>())
      .def("make_peer", &make_peer, py::arg("kind"), py::arg("region_bytes"),
           "(peer id, [rings, core bell, peer bell, region]); the descriptors become the caller's.")
      .def("retire_peer", &Runner::retire_peer, py::arg("peer"), py::arg("message"),
           py::call_guard<py::gil_scoped_release>())
      .def(
          "announce",
          [](Runner& runner, const std::string& entry) {
            base::Status status;
            in_engine(runner, [&](Engine& engine, uint64_t) { status = engine.announce(entry); });
            raise_if_error(status);
          },
          py::arg("entry"), "A model's catalog entry (JSON), as frontends get it.")
      .def(
          "add_model",
          [](Runner& runner, uint32_t handle, const py::dict& given) {
            const engine::ModelSettings settings = settings_from(given);
            base::Status status;
            in_engine(runner, [&](Engine& engine, uint64_t) {
              status = engine.add_model(handle, settings);
            });
            raise_if_error(status);
          },
          py::arg("handle"), py::arg("settings"))
      .def(
          "drain_model",
          [](Runner& runner, uint32_t handle) {
            const py::gil_scoped_release released;
            runner.drain_model(handle);
          },
          py::arg("handle"),
          "Takes nothing new; event ('drained', handle) when all that is in has been answered.")
      .def(
          "waited_for",
          [](Runner& runner, uint32_t handle) {
            bool waited_for = false;
            in_engine(runner,
                      [&](Engine& engine, uint64_t) { waited_for = engine.waited_for(handle); });
            return waited_for;
          },
          py::arg("handle"), "Whether anybody still waits for an answer of this model.")
      .def(
          "stop_models",
          [](Runner& runner) {
            in_engine(runner, [](Engine& engine, uint64_t) { engine.stop_models(); });
          },
          "Models refuse what is new but sequences go on; event ('quiet', 0) when none lives.")
      .def(
          "abort_model",
          [](Runner& runner, uint32_t handle, const std::string& message) {
            in_engine(runner, [&](Engine& engine, uint64_t now_ns) {
              engine.abort_model(handle, message, now_ns);
            });
          },
          py::arg("handle"), py::arg("message"),
          "Refuses what is queued with `message`, then as drain_model.")
      .def(
          "remove_model",
          [](Runner& runner, uint32_t handle) {
            in_engine(runner, [&](Engine& engine, uint64_t) { engine.remove_model(handle); });
          },
          py::arg("handle"))
      .def(
          "add_instance",
          [](Runner& runner, uint32_t handle, uint32_t peer, size_t index) {
            base::Status status;
            in_engine(runner, [&](Engine& engine, uint64_t now_ns) {
              status = engine.add_instance(handle, peer, now_ns, index);
            });
            raise_if_error(status);
          },
          py::arg("handle"), py::arg("peer"), py::arg("index") = 0,
          "`index`: which one it is of the \"instances\" in the model's settings.")
      .def(
          "remove_instance",
          [](Runner& runner, uint32_t peer) {
            in_engine(runner, [&](Engine& engine, uint64_t now_ns) {
              engine.remove_instance(peer, now_ns);
            });
          },
          py::arg("peer"), "No new batches for it; event ('idle', peer) when it owes no answer.")
      .def(
          "cache_elsewhere",
          [](Runner& runner) {
            in_engine(runner, [](Engine& engine, uint64_t) { engine.cache_elsewhere(); });
          },
          "Answers are kept elsewhere, too: events ('cache_ask', handle, key) and ('cache_keep', "
          "handle, key, data).")
      .def("cache_answer", &cache_answer, py::arg("handle"), py::arg("key"), py::arg("data"),
           "What is known elsewhere of a key that was asked for, or None.")
      .def(
          "cache_kept",
          [](Runner& runner, uint64_t byte_size) {
            in_engine(runner, [&](Engine& engine, uint64_t) { engine.cache_kept(byte_size); });
          },
          py::arg("byte_size"), "So much of what 'cache_keep' gave is dealt with.")
      .def("warm_up", &warm_up, py::arg("handle"), py::arg("peer"), py::arg("sample"),
           "Sends it a sample; event ('warmed_up', peer, what went wrong or '').")
      .def(
          "overdue",
          [](Runner& runner) {
            std::vector<uint32_t> found;
            in_engine(runner,
                      [&](Engine& engine, uint64_t now_ns) { found = engine.overdue(now_ns); });
            return found;
          },
          "The peers of instances whose execute has taken longer than \"execute_limit_ns\" of "
          "their "
          "model's settings.")
      .def("statistics", &statistics, py::arg("handle"))
      .def(
          "usage",
          [](Runner& runner) {
            engine::Usage usage;
            in_engine(runner, [&](Engine& engine, uint64_t) { usage = engine.usage(); });
            return usage;
          },
          "By handle: (requests, batches and sequences in flight, monotonic ns of the last use).")
      .def("counters",
           [](Runner& runner) {
             engine::Counters counters;
             engine::ResponseCache::Figures cache;
             in_engine(runner, [&](Engine& engine, uint64_t) {
               counters = engine.counters();
               cache = engine.cache_figures();
             });
             return counters_dict(counters, cache);
           })
      .def("events", [](Runner& runner) {
        py::list made;
        for (const engine::Event& event : runner.take_events()) made.append(event_tuple(event));
        return made;
      });
}

}  // namespace pyserver::bindings
