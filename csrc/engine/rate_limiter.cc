// How much there is of each resource, and who is next; the rules are told in rate_limiter.h.
#include "engine/rate_limiter.h"

#include <algorithm>
#include <tuple>

namespace pyserver::engine {

RateLimiter::RateLimiter(std::vector<ResourceLimit> limits) : limited_(!limits.empty()) {
  for (ResourceLimit& limit : limits) {  // the last word counts
    if (limit.device) {
      limits_[{limit.device, std::move(limit.name)}] = limit.count;
    } else {
      limits_of_each_[std::move(limit.name)] = limit.count;
    }
  }
}

bool RateLimiter::Earlier::operator()(const Seat* one, const Seat* other) const {
  const auto place = [](const Seat& seat) {
    return std::tuple(seat.had + seat.priority, seat.priority, seat.since);
  };
  return place(*one) < place(*other);
}

// --- what there is ---

RateLimiter::Amounts RateLimiter::needs_of(const InstanceLimits& limits) {
  Amounts needs;  // a resource that is named twice: the last word counts, as in Triton
  for (const ResourceNeed& need : limits.needs) {
    needs[{need.global ? std::nullopt : std::optional(limits.device), need.name}] = need.count;
  }
  return needs;
}

void RateLimiter::raise(Amounts* most, const Amounts& needs) {
  for (const auto& [resource, count] : needs) {
    uint64_t& known = (*most)[resource];
    known = std::max(known, count);
  }
}

RateLimiter::Amounts RateLimiter::most_needed() const {
  Amounts most;
  for (const auto& [model, seats] : models_) {
    for (const auto& seat : seats) raise(&most, needs_of(seat->limits));
  }
  return most;
}

// What the limits grant of a resource: a device's own word or that for all devices, whichever is more. For a global one the devices
// in the limits mean nothing.
uint64_t RateLimiter::given(const Resource& resource) const {
  const auto& [device, name] = resource;
  uint64_t most = 0;
  if (const auto found = limits_of_each_.find(name); found != limits_of_each_.end()) {
    most = found->second;
  }
  for (const auto& [limited, count] : limits_) {
    if (limited.second == name && (!device || limited.first == device))
      most = std::max(most, count);
  }
  return most;
}

base::Status RateLimiter::check(const Amounts& most) const {
  for (const auto& [resource, needed] : most) {
    if (!limited_ || given(resource) >= needed) continue;
    return base::invalid_argument("Resource count for \"" + resource.second + "\" is limited to " +
                                  std::to_string(given(resource)) +
                                  " which will prevent scheduling of one or more model instances, "
                                  "the minimum required count is " +
                                  std::to_string(needed));
  }
  std::set<std::string> global;  // come first
  for (const auto& [resource, needed] : most) {
    if (!resource.first) {
      global.insert(resource.second);
    } else if (global.contains(resource.second)) {
      return base::invalid_argument("Resource \"" + resource.second +
                                    "\" is present as both global and device-specific resource in "
                                    "the model configuration.");
    }
  }
  return {};
}

void RateLimiter::set_totals(const Amounts& most) {
  std::erase_if(pools_, [&](const auto& known) { return !most.contains(known.first); });
  for (const auto& [resource, needed] : most) {
    pools_[resource].total = limited_ ? given(resource) : needed;
  }
  changed_ = true;
}

uint64_t RateLimiter::total(const std::string& name, std::optional<int32_t> device) const {
  const auto found = pools_.find({device, name});
  return found == pools_.end() ? 0 : found->second.total;
}

uint64_t RateLimiter::held(const std::string& name, std::optional<int32_t> device) const {
  const auto found = pools_.find({device, name});
  return found == pools_.end() ? 0 : found->second.held;
}

// --- who takes part ---

base::Status RateLimiter::add_model(uint32_t model, std::span<const InstanceLimits> instances) {
  Amounts most = most_needed();
  for (const InstanceLimits& instance : instances) {
    raise(&most, needs_of(instance));
    if (base::Status status = check(most); !status.ok()) return status;
  }
  set_totals(most);
  std::vector<std::unique_ptr<Seat>> seats;
  for (const InstanceLimits& instance : instances) {
    auto seat = std::make_unique<Seat>();
    seat->priority = std::max<uint32_t>(1, instance.priority);
    seat->limits = instance;
    for (const auto& [resource, count] : needs_of(instance)) {
      if (count > 0) seat->needs.emplace_back(&pools_[resource], count);
    }
    seats.push_back(std::move(seat));
  }
  models_[model] = std::move(seats);
  return {};
}

void RateLimiter::remove_model(uint32_t model) {
  const auto found = models_.find(model);
  if (found == models_.end()) return;
  for (const auto& seat : found->second) vacate(seat.get());
  models_.erase(found);
  set_totals(most_needed());
}

Seat* RateLimiter::seat(uint32_t model, size_t index) {
  const auto found = models_.find(model);
  if (found == models_.end() || index >= found->second.size()) return nullptr;
  return found->second[index].get();
}

// --- turns ---

void RateLimiter::wait(Seat* seat) {
  if (seat->state != Seat::State::kIdle) return;
  if (latest_ > kMostAhead) seat->had = std::max(seat->had, latest_ - kMostAhead);
  seat->since = ++waits_;
  seat->state = Seat::State::kWaiting;
  waiting_.insert(seat);
  changed_ = true;
}

void RateLimiter::withdraw(Seat* seat) {
  if (seat->state != Seat::State::kWaiting) return;
  waiting_.erase(seat);
  seat->state = Seat::State::kIdle;
  changed_ = true;  // what was kept for it is free
}

bool RateLimiter::fits(const Seat& seat) {
  return std::all_of(seat.needs.begin(), seat.needs.end(), [this](const auto& need) {
    const auto& [pool, count] = need;
    const uint64_t kept = pool->walk == walks_ ? pool->kept : 0;
    return pool->held <= pool->total && kept <= pool->total - pool->held &&
           count <= pool->total - pool->held - kept;
  });
}

void RateLimiter::keep_for(const Seat& seat) {
  for (const auto& [pool, count] : seat.needs) {
    pool->kept = (pool->walk == walks_ ? pool->kept : 0) + count;
    pool->walk = walks_;
  }
}

Seat* RateLimiter::next() {
  if (!changed_) return nullptr;
  ++walks_;
  for (Seat* seat : waiting_) {
    if (!fits(*seat)) {
      keep_for(*seat);
      continue;
    }
    waiting_.erase(seat);
    seat->state = Seat::State::kHolding;
    for (const auto& [pool, count] : seat->needs) pool->held += count;
    return seat;
  }
  changed_ = false;
  return nullptr;
}

void RateLimiter::executes(Seat* seat) {
  latest_ = std::max(latest_, seat->had);
  seat->had += seat->priority;
}

void RateLimiter::release(Seat* seat) {
  if (seat->state != Seat::State::kHolding) return;
  seat->state = Seat::State::kIdle;
  for (const auto& [pool, count] : seat->needs) pool->held -= count;
  changed_ = true;
}

void RateLimiter::vacate(Seat* seat) {
  withdraw(seat);
  release(seat);
  seat->occupant = 0;
}

}  // namespace pyserver::engine
