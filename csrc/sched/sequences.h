// What both sequence policies share (spec/05 section 5.3): which sequences live, in which slot of which instance, who waits for a
// slot, and who is given up.
//
//   START ──> backlog ──(a slot is free)──> active ──(END is given to the instance, idle too long, cancelled)──> gone
//
// A sequence with a slot is busy (has queued steps), running (its only step executes) or idle. At most one of its steps executes.
// The slot is free again as soon as the step with END has been given to the instance, and the first of the backlog gets it. Each
// START that is executed gives the slot a new generation, so that no step meets the state of another sequence.
//
// Iterative sequences are over when a step is executed without being asked for again before its batch is over. A decoupled model that
// asks later finds its sequence gone, and the request is refused.
#pragma once

#include <deque>
#include <list>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sched/policy.h"
#include "sched/slot_set.h"

namespace pyserver::sched {

struct Sequence {
  uint64_t id = 0;
  std::string text;
  bool mapped = false;     // requests with its id are its steps
  bool active = false;     // has a slot
  bool in_flight = false;  // a step executes
  bool closing = false;    // over as soon as what is queued has run
  bool again = false;      // the executing step was given back, to run once more
  InstanceId instance = 0;
  uint32_t slot = 0;
  uint64_t idle_since_ns = 0;
  uint64_t backlog_expires_ns = kNever;
  Fifo queue;
  const Request* executing = nullptr;  // only to know it again
  Request* head = nullptr;  // the step that may run, where the policy has taken it out of `queue`
  std::list<Sequence*>::iterator in_backlog;
  Sequence* next = nullptr;
  Sequence* previous = nullptr;
  enum class List : uint8_t { kNone, kBusy, kIdle } list = List::kNone;

  bool has_queued() const { return head != nullptr || queue.size() > 0; }
  Request* first() const { return head != nullptr ? head : queue.front(); }
};

class Sequences : public Policy {
 public:
  explicit Sequences(const PolicySettings& settings, uint32_t slots);

  void add_instance(InstanceId instance, uint64_t now_ns) override;
  void remove_instance(InstanceId instance, uint64_t now_ns,
                       std::vector<Dropped>* dropped) override;
  void add(Request* request, uint64_t now_ns, std::vector<Dropped>* dropped) override;
  void remove(Request* request, uint64_t now_ns, std::vector<Dropped>* dropped) override;
  void requeue(Request* request, uint64_t now_ns, std::vector<Dropped>* dropped) override;
  void next_batch(InstanceId idle, uint64_t now_ns, std::vector<Member>* batch) override;
  void batch_over(InstanceId instance, std::span<const Member> members, uint64_t now_ns) override;
  void drop_expired(uint64_t now_ns, std::vector<Dropped>* dropped) override;
  uint64_t wake_ns() const override;
  uint64_t expiry_ns() const override;
  size_t queued() const override { return queued_; }
  Request* any() const override { return busy_.front ? busy_.front->first() : nullptr; }
  bool binds_instances() const override { return true; }
  size_t live_sequences() const override { return live_; }

 protected:
  struct Slot {
    Sequence* sequence = nullptr;
    uint32_t generation = 0;
  };
  struct Instance {
    InstanceId id = 0;
    bool executing = false;
    uint64_t wake_ns = kNever;
    std::vector<Slot> slots;
    std::unique_ptr<Policy> batcher;  // oldest
    SlotSet ready;                    // direct: the slots whose sequence has a head
    uint64_t oldest_ns = kNever;      // direct: the first of the heads' arrivals, where known
    bool oldest_known = true;
  };

  // The front of the sequence's queue may run in its instance from now on.
  virtual void ready(Instance* /*instance*/, Sequence* /*sequence*/, uint64_t /*now_ns*/) {}
  // The head may not, after all.
  virtual void unready(Instance* /*instance*/, Request* /*head*/, uint64_t /*now_ns*/) {}
  // Puts what the instance should run into `batch`, by give(); nothing, and instance->wake_ns, when it is better to wait.
  virtual void form(Instance* instance, uint64_t now_ns, std::vector<Member>* batch) = 0;
  virtual void set_up(Instance* /*instance*/) {}
  // The sequence's first step goes to the instance.
  void give(Instance* instance, Sequence* sequence, uint64_t now_ns, std::vector<Member>* batch);

  const PolicySettings settings_;

 private:
  struct Links {
    Sequence* front = nullptr;
    Sequence* back = nullptr;
  };

  bool refuse(Request* refused, const Sequence* known, std::vector<Dropped>* dropped) const;
  Sequence* find(const Request& request) const;
  Sequence* open(const Request& request, uint64_t now_ns);
  void unmap(Sequence* sequence);
  void close(Sequence* sequence, uint64_t now_ns);
  void free_slot(Sequence* sequence, uint64_t now_ns);
  void assign(Sequence* sequence, Instance* instance, uint32_t slot, uint64_t now_ns);
  void settle(Sequence* sequence, uint64_t now_ns);
  void take_out(Request* request, uint64_t now_ns);
  void drop_all(Sequence* sequence, base::Code code, const std::string& message, bool prefixed,
                uint64_t now_ns, std::vector<Dropped>* dropped);
  void move_to(Sequence* sequence, Sequence::List list);
  Links& links(Sequence::List list) { return list == Sequence::List::kBusy ? busy_ : idle_; }
  bool held_back();

  const uint32_t slots_;
  std::unordered_map<InstanceId, Instance> instances_;
  std::set<std::pair<uint32_t, InstanceId>> free_slots_;  // low numbers first, over all instances
  std::unordered_map<uint64_t, Sequence*> by_id_;
  std::unordered_map<std::string, Sequence*> by_text_;
  std::deque<Sequence> pool_;
  std::vector<Sequence*> spare_;
  std::list<Sequence*> backlog_;
  std::set<std::pair<uint64_t, Sequence*>> backlog_expiries_;
  Links busy_;
  Links idle_;  // the longest idle first
  size_t queued_ = 0;
  size_t live_ = 0;
  bool held_back_;
};

}  // namespace pyserver::sched
