// From the dicts that pyserver/core/catalog.py makes to the engine's settings.
#include "bindings/model_settings.h"

#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

namespace pyserver::bindings {

namespace py = pybind11;

namespace {

// Leaves `value` as it is where the key is absent.
template <typename T>
void read(const py::dict& given, const char* key, T* value) {
  if (given.contains(key)) *value = given[key].cast<T>();
}

sched::QueuePolicy queue_policy_from(const py::dict& given) {
  sched::QueuePolicy policy;
  read(given, "delay", &policy.delay);
  read(given, "default_timeout_us", &policy.default_timeout_us);
  read(given, "allow_timeout_override", &policy.allow_timeout_override);
  read(given, "max_queue_size", &policy.max_queue_size);
  return policy;
}

// A step's map, its tensors as indices.
std::vector<std::pair<std::string, uint32_t>> map_from(const py::handle& given) {
  std::vector<std::pair<std::string, uint32_t>> made;
  for (const auto& [name, tensor] : given.cast<py::dict>())
    made.emplace_back(name.cast<std::string>(), tensor.cast<uint32_t>());
  return made;
}

engine::EnsemblePlan ensemble_from(const py::dict& given) {
  engine::EnsemblePlan plan;
  read(given, "name", &plan.name);
  read(given, "tensors", &plan.tensors);
  read(given, "max_inflight_requests", &plan.max_inflight_requests);
  for (const py::handle& item : given["steps"].cast<py::list>()) {
    const auto step = item.cast<py::dict>();
    engine::EnsembleStep& made = plan.steps.emplace_back();
    made.model = step["model"].cast<std::string>();
    made.version = step["version"].cast<int64_t>();
    made.inputs = map_from(step["inputs"]);
    made.outputs = map_from(step["outputs"]);
  }
  return plan;
}

std::vector<engine::InstanceLimits> instances_from(const py::list& given) {
  std::vector<engine::InstanceLimits> instances;
  for (const py::handle& item : given) {
    const auto limits = item.cast<py::dict>();
    engine::InstanceLimits& made = instances.emplace_back();
    read(limits, "priority", &made.priority);
    read(limits, "device", &made.device);
    for (const py::handle& resource : limits["resources"].cast<py::list>()) {
      const auto need = resource.cast<py::dict>();
      engine::ResourceNeed& one = made.needs.emplace_back();
      one.name = need["name"].cast<std::string>();
      one.count = need["count"].cast<uint64_t>();
      one.global = need["global"].cast<bool>();
    }
  }
  return instances;
}

}  // namespace

engine::ModelSettings settings_from(const py::dict& given) {
  engine::ModelSettings settings;
  settings.name = given["name"].cast<std::string>();
  settings.version = given["version"].cast<int64_t>();
  settings.policy = given["policy"].cast<std::string>();
  read(given, "preserve_ordering", &settings.preserve_ordering);
  read(given, "decoupled", &settings.decoupled);
  read(given, "cache", &settings.cache);
  read(given, "idempotent", &settings.idempotent);
  read(given, "execute_limit_ns", &settings.execute_limit_ns);
  if (given.contains("ensemble"))
    settings.ensemble = ensemble_from(given["ensemble"].cast<py::dict>());
  if (given.contains("instances"))
    settings.instances = instances_from(given["instances"].cast<py::list>());
  sched::PolicySettings& queue = settings.queue;
  queue.model = settings.name;
  queue.max_batch_size = given["max_batch_size"].cast<uint32_t>();
  read(given, "preferred_batch_sizes", &queue.preferred_batch_sizes);
  read(given, "max_queue_delay_us", &queue.max_queue_delay_us);
  read(given, "priority_levels", &queue.priority_levels);
  read(given, "default_priority_level", &queue.default_priority_level);
  if (given.contains("default_queue"))
    queue.default_queue = queue_policy_from(given["default_queue"].cast<py::dict>());
  if (given.contains("level_queues")) {
    for (const auto& [level, policy] : given["level_queues"].cast<py::dict>())
      queue.level_queues[level.cast<uint64_t>()] = queue_policy_from(policy.cast<py::dict>());
  }
  read(given, "max_sequence_idle_us", &queue.max_sequence_idle_us);
  read(given, "max_candidate_sequences", &queue.max_candidate_sequences);
  read(given, "minimum_slot_utilization", &queue.minimum_slot_utilization);
  read(given, "iterative", &queue.iterative);
  read(given, "delay_scheduler", &queue.delay_scheduler);
  read(given, "backlog_delay_scheduler", &queue.backlog_delay_scheduler);
  return settings;
}

}  // namespace pyserver::bindings
