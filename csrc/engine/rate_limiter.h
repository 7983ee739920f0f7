// Whose turn it is to execute (spec/05 section 5.5, --rate-limit=execution_count).
//
// Each instance of a loaded model has a seat: what it needs of which resources, its priority, and what it has had so far. A seat that
// is granted holds all that it needs from then until it is released; it never holds a part, so that nobody waits for one who waits.
//
//             wait                 next                executes
//    idle ──────────> waiting ──────────> holding ──────────────> holding ──release──> idle
//      ^─────withdraw────┘                  └──────give_up──> idle
//
// Turns go by (executions + 1) x priority, the smallest first; as many resources as the one whose turn it is still lacks are kept for
// it, so that one that needs much is not overtaken for ever by those that need little. Who needs other resources does not wait for it.
// One that has long been idle, or is new, is at most kMostAhead behind those that executed meanwhile, or they would wait for as long.
//
// A resource is either global or each device has its own. There is as much of it as the instance that needs most needs, unless limits
// are given: then there is what they say, and nothing of what they do not name.
//
// Single-threaded, no I/O, no clock.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace pyserver::engine {

// What --rate-limit-resource says.
struct ResourceLimit {
  std::string name;
  uint64_t count = 0;
  std::optional<int32_t> device = {};  // none: so much on every device
};

struct ResourceNeed {
  std::string name;
  uint64_t count = 0;
  bool global = false;
};

// Of one instance, as its model's config has it.
struct InstanceLimits {
  uint32_t priority = 1;  // 2 gets half the turns of 1; 0 counts as 1
  int32_t device = 0;
  std::vector<ResourceNeed> needs = {};
};

struct ResourcePool {
  uint64_t total = 0;
  uint64_t held = 0;  // more than `total` where that has shrunk meanwhile
  uint64_t kept = 0;  // for those whose turn is earlier; of the walk `walk`
  uint64_t walk = 0;
};

struct Seat {
  enum class State : uint8_t { kIdle, kWaiting, kHolding };
  uint32_t occupant = 0;  // the instance's peer; 0: nobody, for the moment
  State state = State::kIdle;
  uint64_t priority = 1;
  uint64_t had = 0;    // executions x priority
  uint64_t since = 0;  // when it began to wait: a count of waits
  InstanceLimits limits;
  std::vector<std::pair<ResourcePool*, uint64_t>> needs;
};

class RateLimiter {
 public:
  static constexpr uint64_t kMostAhead = 64;  // in executions x priority

  // Without any limit there is as much as is needed.
  explicit RateLimiter(std::vector<ResourceLimit> limits);

  // Gives the model's instances seats, by their place in `instances`. Refuses all of them with Triton's text when one could never
  // execute, or a resource would be both global and a device's.
  base::Status add_model(uint32_t model, std::span<const InstanceLimits> instances);
  // Its seats are gone, with what they held.
  void remove_model(uint32_t model);
  // nullptr: the model has no such instance.
  Seat* seat(uint32_t model, size_t index);

  void wait(Seat* seat);
  void withdraw(Seat* seat);
  // The next one whose turn it is and whose resources are free: it holds them from now. nullptr: nobody.
  Seat* next();
  // Of one that holds: it executes, which counts; it has nothing to execute after all; it is done, or dead.
  void executes(Seat* seat);
  void give_up(Seat* seat) { release(seat); }
  void release(Seat* seat);
  // Nobody has the seat any more.
  void vacate(Seat* seat);

  size_t waiting() const { return waiting_.size(); }
  // How much there is, and how much of it is held; `device` none: of a global resource.
  uint64_t total(const std::string& name, std::optional<int32_t> device) const;
  uint64_t held(const std::string& name, std::optional<int32_t> device) const;

 private:
  // Global ones have no device.
  using Resource = std::pair<std::optional<int32_t>, std::string>;
  using Amounts = std::map<Resource, uint64_t>;
  struct Earlier {
    bool operator()(const Seat* one, const Seat* other) const;
  };

  static Amounts needs_of(const InstanceLimits& limits);
  static void raise(Amounts* most, const Amounts& needs);
  base::Status check(const Amounts& most) const;
  uint64_t given(const Resource& resource) const;
  void set_totals(const Amounts& most);
  Amounts most_needed() const;
  bool fits(const Seat& seat);
  void keep_for(const Seat& seat);

  const bool limited_;
  Amounts limits_;                                  // of one device
  std::map<std::string, uint64_t> limits_of_each_;  // of every device
  std::map<Resource, ResourcePool> pools_;
  std::map<uint32_t, std::vector<std::unique_ptr<Seat>>> models_;
  std::set<Seat*, Earlier> waiting_;
  uint64_t waits_ = 0;
  uint64_t walks_ = 0;
  uint64_t latest_ = 0;   // the most that one had had when it was its turn
  bool changed_ = false;  // next() may find somebody
};

}  // namespace pyserver::engine
