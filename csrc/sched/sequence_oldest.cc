// The oldest strategy: the steps that may run, one of each candidate sequence, go through a dynamic batcher of their instance.
#include <algorithm>

#include "sched/sequences.h"

namespace pyserver::sched {

namespace {

PolicySettings batcher_settings(const PolicySettings& settings) {
  PolicySettings made;
  made.max_batch_size = settings.max_batch_size;
  made.preferred_batch_sizes = settings.preferred_batch_sizes;
  made.max_queue_delay_us = settings.max_queue_delay_us;
  return made;
}

uint32_t candidates(const PolicySettings& settings) {
  const uint32_t rows = std::max<uint32_t>(1, settings.max_batch_size);
  return settings.max_candidate_sequences > 0 ? settings.max_candidate_sequences : rows;
}

class SequenceOldest final : public Sequences {
 public:
  explicit SequenceOldest(const PolicySettings& settings)
      : Sequences(settings, candidates(settings)) {}

 private:
  void set_up(Instance* instance) override {
    instance->batcher = make_dynamic(batcher_settings(settings_));
  }

  void ready(Instance* instance, Sequence* sequence, uint64_t now_ns) override {
    Request* step = sequence->queue.front();
    sequence->queue.remove(step);
    sequence->head = step;
    const uint64_t arrived_ns = step->enqueue_ns;
    instance->batcher->add(step, now_ns, &none_);
    step->enqueue_ns = arrived_ns;  // the time that it waits counts from its arrival
  }

  void unready(Instance* instance, Request* head, uint64_t now_ns) override {
    instance->batcher->remove(head, now_ns, &none_);
  }

  void form(Instance* instance, uint64_t now_ns, std::vector<Member>* batch) override {
    formed_.clear();
    instance->batcher->next_batch(instance->id, now_ns, &formed_);
    instance->wake_ns = instance->batcher->wake_ns();
    for (const Member& member : formed_) give(instance, member.request->sequence, now_ns, batch);
  }

  std::vector<Member> formed_;
  std::vector<Dropped> none_;  // the batchers have no limits and no time-outs
};

}  // namespace

std::unique_ptr<Policy> make_sequence_oldest(const PolicySettings& settings) {
  return std::make_unique<SequenceOldest>(settings);
}

}  // namespace pyserver::sched
