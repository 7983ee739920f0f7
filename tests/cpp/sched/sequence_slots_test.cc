// Slots: which have something to run, and that each serves one sequence at a time, whatever is given back, cancelled and ended.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <utility>

#include "sched/script.h"
#include "sched/slot_set.h"

namespace pyserver::sched {
namespace {

TEST(SlotSet, FindsWhatAnOrderedSetFinds) {
  std::mt19937_64 random(1);
  for (const uint32_t size : {1u, 63u, 64u, 65u, 4096u, 4097u, 300'000u}) {
    SlotSet slots;
    slots.reset(size);
    std::set<uint32_t> expected;
    EXPECT_EQ(slots.next(0), SlotSet::kNone) << size;
    for (int step = 0; step < 4000; ++step) {
      const auto number = static_cast<uint32_t>(random() % size);
      if (random() % 2 == 0) {
        slots.add(number);
        expected.insert(number);
      } else {
        slots.remove(expected.empty() ? number : *expected.begin());
        if (!expected.empty()) expected.erase(expected.begin());
      }
      const auto from = static_cast<uint32_t>(random() % (size + 1));
      const auto found = expected.lower_bound(from);
      ASSERT_EQ(slots.next(from), found == expected.end() ? SlotSet::kNone : *found)
          << size << " from " << from;
      ASSERT_EQ(slots.count(), expected.size());
    }
    slots.add(size - 1);
    EXPECT_EQ(slots.next(size - 1), size - 1);
    EXPECT_EQ(slots.next(size), SlotSet::kNone);
  }
}

PolicySettings waiting(uint32_t slots, double share, uint64_t delay_us) {
  PolicySettings made;
  made.model = "m";
  made.max_batch_size = slots;
  made.max_sequence_idle_us = 1000;
  made.minimum_slot_utilization = share;
  made.max_queue_delay_us = delay_us;
  return made;
}

TEST(SequenceDirect, TheDelayCountsFromTheOldestThatStillWaits) {
  Script script("sequence_direct", waiting(4, 1, 100), "A@0c1S B@30c2S -A@40 C@50c3S");
  script.policy().add_instance(1, 0);
  EXPECT_EQ(script.ask(30), "w100");
  EXPECT_EQ(script.ask(40), "w130") << "the oldest was cancelled";
  EXPECT_EQ(script.ask(50), "w130");
  EXPECT_EQ(script.ask(130), "CB") << "C got the slot that A had left";
}

TEST(SequenceDirect, OtherShapesDoNotCountForTheUtilization) {
  Script script("sequence_direct", waiting(4, 0.5, 100), "A@0c1Ss7 B@1c2Ss8 C@2c3Ss7");
  script.policy().add_instance(1, 0);
  EXPECT_EQ(script.ask(1), "w100");
  EXPECT_EQ(script.ask(2), "A_C");
}

class SequenceSlots : public testing::TestWithParam<const char*> {};

TEST_P(SequenceSlots, AfterStopEvenALiveIdCannotStartAgain) {
  PolicySettings settings = waiting(2, 0, 0);
  Script script(GetParam(), settings, "A@0c1S B@2c1S C@3c1E");
  script.policy().add_instance(1, 0);
  EXPECT_EQ(script.ask(0), "A");
  script.policy().stop();
  script.over(1);
  EXPECT_EQ(script.ask(2), "!B e1001");
  EXPECT_EQ(script.text('B'),
            "Server is stopping, scheduler for model has stopped accepting new inference requests");
  EXPECT_EQ(script.ask(3), "C") << "its steps go on";
}

// Iterative requests at random: given back or not, cancelled or not. A generation of a slot never meets two requests, and nothing is
// lost or left over.
TEST_P(SequenceSlots, AGenerationNeverServesTwoSequences) {
  PolicySettings settings = waiting(4, 0, 0);
  settings.max_candidate_sequences = 6;
  settings.iterative = true;
  const std::unique_ptr<Policy> policy = make_policy(GetParam(), settings);
  for (InstanceId id : {1u, 2u}) policy->add_instance(id, 0);
  std::mt19937_64 random(7);
  std::deque<Request> requests;
  std::vector<Request*> queued;
  std::vector<Dropped> dropped;
  std::map<InstanceId, std::vector<Member>> running;
  std::map<std::tuple<InstanceId, uint32_t, uint32_t>, const Request*> owners;
  uint64_t now_ns = 1;
  size_t over = 0;
  const auto finish = [&](InstanceId id, bool last) {
    const std::vector<Member> members = std::exchange(running[id], {});
    for (const Member& member : members) {
      if (member.request == nullptr) continue;
      if (last || random() % 3 == 0) {
        ++over;
        continue;
      }
      policy->requeue(member.request, now_ns, &dropped);
      queued.push_back(member.request);
    }
    policy->batch_over(id, members, now_ns);
  };
  const auto begin = [&](InstanceId id) {
    std::vector<Member> batch;
    policy->next_batch(id, now_ns, &batch);
    for (const Member& member : batch) {
      if (member.request == nullptr) continue;
      ASSERT_EQ(std::erase(queued, member.request), 1u) << "given out twice";
      const auto [owner, first] =
          owners.try_emplace({id, member.slot, member.generation}, member.request);
      ASSERT_EQ(owner->second, member.request) << "the state of another sequence";
      ASSERT_EQ(first, (member.request->flags & shm::kSequenceStart) != 0);
    }
    running[id] = std::move(batch);
  };
  for (int step = 0; step < 20'000; ++step, ++now_ns) {
    const auto id = static_cast<InstanceId>(1 + random() % 2);
    if (random() % 4 == 0) {
      queued.push_back(&requests.emplace_back());
      queued.back()->signature = random() % 2;
      policy->add(queued.back(), now_ns, &dropped);
    } else if (random() % 16 == 0 && !queued.empty()) {
      const auto chosen = queued.begin() + static_cast<std::ptrdiff_t>(random() % queued.size());
      policy->remove(*chosen, now_ns, &dropped);
      queued.erase(chosen);
      ++over;
    } else if (running[id].empty()) {
      begin(id);
    } else {
      finish(id, false);
    }
    ASSERT_EQ(policy->queued(), queued.size());
    ASSERT_TRUE(dropped.empty());
    if (HasFatalFailure()) FAIL() << "step " << step;
  }
  for (size_t turn = 0; turn < requests.size() + 2; ++turn) {
    for (InstanceId id : {1u, 2u}) {
      if (!running[id].empty()) finish(id, true);
      begin(id);
    }
  }
  EXPECT_EQ(policy->queued(), 0u);
  EXPECT_EQ(over, requests.size());
  EXPECT_EQ(policy->live_sequences(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Both, SequenceSlots,
                         testing::Values("sequence_direct", "sequence_oldest"));

}  // namespace
}  // namespace pyserver::sched
