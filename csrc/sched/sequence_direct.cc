// The direct strategy: each slot of an instance is a row of its batches. A batch has one row for each slot up to the highest that has
// something to run; slots without a step, or with one of another shape, are filled with null requests.
//
// Only the slots that have a step to run are ever walked, so that a step costs the same however many sequences live.
#include <algorithm>

#include "sched/sequences.h"

namespace pyserver::sched {

namespace {

class SequenceDirect final : public Sequences {
 public:
  explicit SequenceDirect(const PolicySettings& settings)
      : Sequences(settings, std::max<uint32_t>(1, settings.max_batch_size)) {}

 private:
  void set_up(Instance* instance) override {
    instance->ready.reset(static_cast<uint32_t>(instance->slots.size()));
  }

  void ready(Instance* instance, Sequence* sequence, uint64_t /*now_ns*/) override {
    Request* step = sequence->queue.front();
    sequence->queue.remove(step);
    step->queued = true;  // still, though in no list
    sequence->head = step;
    instance->ready.add(sequence->slot);
    instance->oldest_ns = std::min(instance->oldest_ns, step->enqueue_ns);
  }

  void unready(Instance* instance, Request* head, uint64_t /*now_ns*/) override {
    head->queued = false;
    instance->ready.remove(head->sequence->slot);
    instance->oldest_known = false;
  }

  void form(Instance* instance, uint64_t now_ns, std::vector<Member>* batch) override {
    const uint32_t lowest = instance->ready.next(0);
    if (lowest == SlotSet::kNone || waits(instance, lowest, now_ns)) return;
    const uint64_t signature = step_of(*instance, lowest)->signature;
    uint32_t row = 0;
    for (uint32_t slot = lowest; slot != SlotSet::kNone; slot = instance->ready.next(slot + 1)) {
      Request* step = step_of(*instance, slot);
      if (step->signature != signature) continue;
      for (; row < slot; ++row) batch->push_back({nullptr, row, 0});
      step->queued = false;
      instance->ready.remove(slot);  // before the next sequence may get the slot
      give(instance, step->sequence, now_ns, batch);
      ++row;
    }
    instance->oldest_known = false;
  }

  // Whether it is better to wait for more rows: then instance->wake_ns says until when.
  bool waits(Instance* instance, uint32_t lowest, uint64_t now_ns) const {
    if (settings_.minimum_slot_utilization <= 0) return false;
    if (!instance->oldest_known) find_oldest(instance, lowest);
    const uint64_t due_ns = after_us(instance->oldest_ns, settings_.max_queue_delay_us);
    if (now_ns >= due_ns || utilized(*instance, lowest)) return false;
    instance->wake_ns = due_ns;
    return true;
  }

  static void find_oldest(Instance* instance, uint32_t lowest) {
    instance->oldest_ns = kNever;
    for (uint32_t slot = lowest; slot != SlotSet::kNone; slot = instance->ready.next(slot + 1)) {
      instance->oldest_ns = std::min(instance->oldest_ns, step_of(*instance, slot)->enqueue_ns);
    }
    instance->oldest_known = true;
  }

  bool utilized(const Instance& instance, uint32_t lowest) const {
    const auto slots = static_cast<double>(instance.slots.size());
    const auto enough = [&](size_t rows) {
      return static_cast<double>(rows) / slots >= settings_.minimum_slot_utilization;
    };
    if (!enough(instance.ready.count())) return false;  // whatever their shapes are
    const uint64_t signature = step_of(instance, lowest)->signature;
    size_t rows = 0;
    for (uint32_t slot = lowest; slot != SlotSet::kNone; slot = instance.ready.next(slot + 1)) {
      if (step_of(instance, slot)->signature == signature) ++rows;
    }
    return enough(rows);
  }

  static Request* step_of(const Instance& instance, uint32_t slot) {
    return instance.slots[slot].sequence->head;
  }
};

}  // namespace

std::unique_ptr<Policy> make_sequence_direct(const PolicySettings& settings) {
  return std::make_unique<SequenceDirect>(settings);
}

}  // namespace pyserver::sched
