// The direct strategy: each slot of an instance is a row of its batches. A batch has one row for each slot up to the highest that has
// something to run; slots without a step, or with one of another shape, are filled with null requests.
#include <algorithm>

#include "sched/sequences.h"

namespace pyserver::sched {

namespace {

class SequenceDirect final : public Sequences {
 public:
  explicit SequenceDirect(const PolicySettings& settings)
      : Sequences(settings, std::max<uint32_t>(1, settings.max_batch_size)) {}

 private:
  void form(Instance* instance, uint64_t now_ns, std::vector<Member>* batch) override {
    size_t rows = 0;
    size_t ready = 0;
    const Request* first = nullptr;
    uint64_t oldest_ns = kNever;
    for (size_t slot = 0; slot < instance->slots.size(); ++slot) {
      const Request* step = step_of(instance->slots[slot]);
      if (step == nullptr) continue;
      if (first == nullptr) first = step;
      oldest_ns = std::min(oldest_ns, step->enqueue_ns);
      if (step->signature != first->signature) continue;
      rows = slot + 1;
      ++ready;
    }
    if (ready == 0) return;
    const uint64_t due_ns = after_us(oldest_ns, settings_.max_queue_delay_us);
    const double utilization =
        static_cast<double>(ready) / static_cast<double>(instance->slots.size());
    if (utilization < settings_.minimum_slot_utilization && now_ns < due_ns) {
      instance->wake_ns = due_ns;
      return;
    }
    const uint64_t signature = first->signature;
    for (uint32_t number = 0; number < rows; ++number) {
      const Slot& slot = instance->slots[number];
      const Request* step = step_of(slot);
      if (step == nullptr || step->signature != signature) {
        batch->push_back({nullptr, number, 0});
      } else {
        give(instance, slot.sequence, now_ns, batch);
      }
    }
  }

  static const Request* step_of(const Slot& slot) {
    return slot.sequence != nullptr && !slot.sequence->in_flight ? slot.sequence->first() : nullptr;
  }
};

}  // namespace

std::unique_ptr<Policy> make_sequence_direct(const PolicySettings& settings) {
  return std::make_unique<SequenceDirect>(settings);
}

}  // namespace pyserver::sched
