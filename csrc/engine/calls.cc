// Calls: requests that instances submit while they execute (business logic scripting).
//
// An instance that waits for a call is free again only when it is answered. So a call may wait, through others, for the instance that
// made it, and would for ever. Waiting begins when a call is queued and at no other time: there it is looked for, and refused.
//
//   a call is stuck       while it is queued and all instances of its model are blocked, or executes in one that is blocked,
//                         or is an ensemble's and one of its steps is stuck
//   an instance is blocked   while a batch that it executes waits for a call that is stuck
//
// The largest set of instances that satisfies both is never free again. It is found by assuming that all are blocked that the call can
// come to, and taking out whoever is not, until nobody is left to be taken out.
#include <algorithm>
#include <unordered_map>

#include "engine/engine.h"

namespace pyserver::engine {

namespace {

class Waits {
 public:
  // Whether the call will never be answered.
  bool stuck_for_ever(const Request& call, const auto& find_request) {
    find_ = find_request;
    reach(call);
    for (bool changed = true; changed;) {
      changed = false;
      for (auto& [instance, blocked] : blocked_) {
        if (!blocked || stuck_child(*instance) != nullptr) continue;
        blocked = false;
        changed = true;
      }
    }
    return stuck(call);
  }

  // Names of models from the one that made the call to the first that comes twice.
  std::string path(const Request& call) const {
    std::vector<const Peer*> passed{call.submitter};
    std::string names = call.submitter->model->settings.name;
    for (const Request* next = &call; next != nullptr;) {
      names += " -> " + next->model->settings.name;
      while (next->led != nullptr) {
        next = stuck_step(*next);
        if (next == nullptr) return names;
        names += " -> " + next->model->settings.name;
      }
      const Peer* instance = next->queued ? next->model->instances.front() : next->instance;
      // Where several are blocked, the way that ends soonest is the one to tell.
      if (next->queued && std::ranges::find(next->model->instances, passed.front()) !=
                              next->model->instances.end()) {
        instance = passed.front();
      }
      if (std::ranges::find(passed, instance) != passed.end()) return names;
      passed.push_back(instance);
      next = stuck_child(*instance);
    }
    return names;
  }

 private:
  static bool waits_for(const Peer& instance, const Request& call) {
    if (call.answered || call.parent == 0) return false;
    const auto batch = instance.batches.find(call.parent);
    return batch != instance.batches.end() && !batch->second->done;
  }

  void reach(const Request& call) {
    if (call.answered) return;
    if (call.queued) {
      for (const Peer* instance : call.model->instances) reach(instance);
    } else if (call.led != nullptr) {
      for (const OpenStep& open : call.led->open) {
        if (const Request* step = find_(open.ticket); step != nullptr) reach(*step);
      }
    } else if (call.instance != nullptr) {
      reach(call.instance);
    }
  }

  void reach(const Peer* instance) {
    if (!blocked_.emplace(instance, true).second) return;
    for (const Request* call = instance->requests; call != nullptr; call = call->peer_next) {
      if (waits_for(*instance, *call)) reach(*call);
    }
  }

  bool stuck(const Request& call) const {
    if (call.answered) return false;
    if (call.queued) {
      return !call.model->instances.empty() &&
             std::ranges::all_of(call.model->instances,
                                 [&](const Peer* instance) { return blocked_.at(instance); });
    }
    if (call.led != nullptr) return stuck_step(call) != nullptr;
    return call.instance != nullptr && call.batch != nullptr && !call.batch->done &&
           blocked_.at(call.instance);
  }

  const Request* stuck_step(const Request& call) const {
    for (const OpenStep& open : call.led->open) {
      const Request* step = find_(open.ticket);
      if (step != nullptr && stuck(*step)) return step;
    }
    return nullptr;
  }

  const Request* stuck_child(const Peer& instance) const {
    for (const Request* call = instance.requests; call != nullptr; call = call->peer_next) {
      if (waits_for(instance, *call) && stuck(*call)) return call;
    }
    return nullptr;
  }

  std::function<const Request*(uint64_t)> find_;
  std::unordered_map<const Peer*, bool> blocked_;
};

// Most calls go to a model that has an instance which waits for nobody.
bool may_be_stuck(const Request& call) {
  return !call.queued || std::ranges::all_of(call.model->instances, [](const Peer* instance) {
    return instance->requests != nullptr;
  });
}

}  // namespace

std::string Engine::circle_of(const Request& call) const {
  if (call.parent == 0 || call.submitter == nullptr || call.submitter->model == nullptr ||
      !may_be_stuck(call)) {
    return {};
  }
  Waits waits;
  const auto find = [this](uint64_t ticket) -> const Request* {
    const auto slot = static_cast<uint32_t>(ticket);
    const Request& request = slots_[slot];
    return request.live && request.ticket == ticket ? &request : nullptr;
  };
  if (!waits.stuck_for_ever(call, find)) return {};
  return "model '" + call.submitter->model->settings.name + "' calls model '" +
         call.model->settings.name +
         "' in a circle, and would wait for itself: " + waits.path(call) +
         "; no instance in it is free. More instances (instance_group) allow deeper circles";
}

// The same for a run of an ensemble that was begun by a call, however deep it lies.
std::string Engine::circle_behind(const Run& run) const {
  const Request* outermost = run.request;
  while (outermost->run != nullptr) outermost = outermost->run->request;
  return circle_of(*outermost);
}

// Ensembles see to their own: their steps are refused.
void Engine::refuse_circle(uint64_t ticket, uint64_t now_ns) {
  Request* const call = find_request(ticket);
  if (call == nullptr || call->parent == 0 || !call->queued) return;
  const std::string circle = circle_of(*call);
  if (circle.empty()) return;
  dequeue(call, now_ns);
  refuse(call, base::Code::kUnavailable, request_prefix(*call) + circle, now_ns);
  drop(now_ns);
}

// The calls of an instance that is gone may still be executing elsewhere, and read what it was given: its requests' memory, and the
// answers that it held. Each call gets a hold on all of that; nothing when there is no such call.
std::vector<SourceRef> Engine::read_by_calls(Peer* gone) {
  std::vector<SourceRef> read;
  const auto goes_on = [](const Request& call) {
    return call.led != nullptr || (call.instance != nullptr && !call.let_go);
  };
  bool any = false;
  for (const Request* call = gone->requests; call != nullptr; call = call->peer_next)
    any = any || goes_on(*call);
  if (!any) return read;
  for (const auto& [id, batch] : gone->batches) {
    for (const Request* request : batch->requests) {
      if (request->released || request->null_request) continue;
      read.push_back(std::make_shared<Source>(this, Source::Kind::kRequest, 0, request->ticket));
    }
  }
  while (gone->leases != 0) {
    if (SourceRef source = lease_as_source(gone->leases); source != nullptr)
      read.push_back(std::move(source));
  }
  for (Request* call = gone->requests; call != nullptr; call = call->peer_next) {
    if (goes_on(*call)) call->sources.insert(call->sources.end(), read.begin(), read.end());
  }
  return read;
}

}  // namespace pyserver::engine
