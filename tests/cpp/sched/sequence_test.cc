// Sequences, direct and oldest, as scripts (script.h). "=20" in the answers: the instance has executed its batch at 20 us; "#2" after
// a time: instance 2 is asked. An idle sequence is given up after 1000 us. "_" is a null request.
#include "sched/script.h"

namespace pyserver::sched {
namespace {

struct SequenceRow {
  const char* name;
  const char* policy;
  PolicySettings settings;
  const char* arrivals;
  std::vector<const char*> answers;
  uint32_t instances = 1;
};

constexpr const char* kDirect = "sequence_direct";
constexpr const char* kOldest = "sequence_oldest";

PolicySettings slots(uint32_t max_batch_size) {
  PolicySettings made;
  made.model = "m";
  made.max_batch_size = max_batch_size;
  made.max_sequence_idle_us = 1000;
  return made;
}

PolicySettings utilized(uint32_t max_batch_size, double share, uint64_t delay_us) {
  PolicySettings made = slots(max_batch_size);
  made.minimum_slot_utilization = share;
  made.max_queue_delay_us = delay_us;
  return made;
}

PolicySettings oldest(uint32_t max_batch_size, uint32_t candidates, uint64_t delay_us = 0,
                      std::vector<uint32_t> preferred = {}) {
  PolicySettings made = slots(max_batch_size);
  made.max_candidate_sequences = candidates;
  made.max_queue_delay_us = delay_us;
  made.preferred_batch_sizes = std::move(preferred);
  return made;
}

PolicySettings held(PolicySettings made, uint64_t queued, uint64_t backlog) {
  made.delay_scheduler = queued;
  made.backlog_delay_scheduler = backlog;
  return made;
}

const std::vector<SequenceRow> kRows = {
    // What a request needs
    {"no_correlation_id", kDirect, slots(2), "A@0S", {"0: !A"}},
    {"no_correlation_id_oldest", kOldest, slots(2), "A@0S", {"0: !A"}},
    {"no_start", kDirect, slots(2), "A@0c1", {"0: !A"}},
    {"no_start_oldest", kOldest, slots(2), "A@0c1", {"0: !A"}},
    {"more_than_one_row", kDirect, slots(2), "A@0c1Sr2", {"0: !A"}},
    {"no_rows_are_one", kDirect, slots(2), "A@0c1Sr0", {"0: A"}},
    {"start_is_enough", kOldest, slots(2), "A@0c1S", {"0: A"}},
    {"start_and_end_at_once", kDirect, slots(2), "A@0c1SE", {"0: A", "=5", "6:"}},

    // Direct: slots are rows
    {"a_model_without_batches_has_one_slot",
     kDirect,
     slots(0),
     "A@0c1S B@0c2S",
     {"0: A", "=5", "5: e1005"}},
    {"two_sequences_share_a_batch", kDirect, slots(2), "A@0c1S B@0c2S", {"0: AB"}},
    {"one_step_of_each_at_a_time",
     kDirect,
     slots(2),
     "A@0c1S B@0c1 C@0c2S",
     {"0: AC", "=5", "5: B e1005"}},
    {"nothing_while_it_executes", kDirect, slots(2), "A@0c1S B@1c1", {"0: A", "2:", "=5", "5: B"}},
    {"an_empty_slot_below_is_filled",
     kDirect,
     slots(2),
     "A@0c1S B@0c2S C@9c2",
     {"0: AB", "=5", "9: _C e1005"}},
    {"nothing_above_the_highest",
     kDirect,
     slots(4),
     "A@0c1S B@0c2S C@9c1",
     {"0: AB", "=5", "9: C e1005"}},
    {"two_gaps", kDirect, slots(4), "A@0c1S B@0c2S C@0c3S D@9c3", {"0: ABC", "=5", "9: __D e1005"}},
    {"a_gap_in_the_middle",
     kDirect,
     slots(4),
     "A@0c1S B@0c2S C@0c3S D@9c3 E@9c1",
     {"0: ABC", "=5", "9: E_D e1005"}},
    {"another_shape_is_a_gap",
     kDirect,
     slots(4),
     "A@0c1Ss7 B@0c2Ss8 C@0c3Ss7",
     {"0: A_C", "=5", "5: _B e1005"}},
    {"an_ended_sequences_slot_is_free",
     kDirect,
     slots(1),
     "A@0c1SE B@1c2S",
     {"0: A", "=5", "5: B"}},
    {"the_next_sequence_is_not_in_the_same_batch",
     kDirect,
     slots(1),
     "A@0c1SE B@0c2SE C@0c3SE",
     {"0: A", "=5", "5: B", "=6", "6: C"}},
    {"the_backlog_is_first_in_first_out",
     kDirect,
     slots(1),
     "A@0c1S B@0c2S C@0c3S D@4c1E",
     {"0: A", "=5", "5: D", "=6", "6: B", "=7", "7: e1007", "1007: C"}},
    {"steps_join_their_sequence_in_the_backlog",
     kDirect,
     slots(1),
     "A@0c1SE B@0c2S C@0c2 D@0c2E",
     {"0: A", "=1", "1: B", "=2", "2: C", "=3", "3: D", "=4", "4:"}},
    {"an_ended_id_needs_start", kDirect, slots(2), "A@0c1SE B@9c1", {"0: A", "=5", "9: !B"}},
    {"an_id_is_free_as_soon_as_end_has_come",
     kDirect,
     slots(2),
     "A@0c1S B@0c1E C@0c1S",
     {"0: AC", "=5", "5: B e1005"}},
    {"start_on_a_live_id_keeps_its_slot",
     kDirect,
     slots(2),
     "A@0c1S B@0c2S C@9c1S",
     {"0: AB", "=5", "9: C e1005"}},

    // Utilization
    {"below_the_utilization_it_waits", kDirect, utilized(4, 0.5, 100), "A@0c1S", {"0: w100"}},
    {"with_the_utilization_it_goes",
     kDirect,
     utilized(4, 0.5, 100),
     "A@0c1S B@9c2S",
     {"0: w100", "9: AB"}},
    {"after_the_delay_it_goes", kDirect, utilized(4, 0.5, 100), "A@0c1S", {"0: w100", "100: A"}},
    {"without_utilization_the_delay_counts_not", kDirect, utilized(4, 0, 100), "A@0c1S", {"0: A"}},
    {"full_utilization", kDirect, utilized(2, 1, 100), "A@0c1S B@5c2S", {"0: w100", "5: AB"}},
    {"utilization_without_delay", kDirect, utilized(2, 1, 0), "A@0c1S", {"0: A"}},

    // Instances
    {"sequences_spread_over_instances",
     kDirect,
     slots(2),
     "A@0c1S B@0c2S C@0c3S",
     {"0#1: AC", "0#2: B"},
     2},
    {"a_sequence_stays_in_its_instance",
     kDirect,
     slots(1),
     "A@0c1S B@0c2S C@1c1 D@1c2",
     {"0#1: A", "0#2: B", "=5#2", "5#2: D", "=6#1", "6#1: C"},
     2},
    {"candidates_spread_over_instances",
     kOldest,
     oldest(2, 2),
     "A@0c1S B@0c2S C@0c3S",
     {"0#1: AC", "0#2: B"},
     2},

    // Oldest
    {"candidates_share_a_batch", kOldest, oldest(4, 4), "A@0c1S B@0c2S C@0c3S", {"0: ABC"}},
    {"one_step_in_flight",
     kOldest,
     oldest(4, 4),
     "A@0c1S B@0c1 C@0c2S",
     {"0: AC", "=5", "5: B e1005"}},
    {"no_gaps", kOldest, oldest(4, 4), "A@0c1S B@0c2S C@9c2", {"0: AB", "=5", "9: C e1005"}},
    {"more_candidates_than_rows",
     kOldest,
     oldest(2, 8),
     "A@0c1S B@0c2S C@0c3S",
     {"0: AB", "=5", "5: C e1005"}},
    {"those_who_wait_go_first",
     kOldest,
     oldest(2, 8),
     "A@0c1S B@0c2S C@0c3S D@1c1",
     {"0: AB", "=5", "5: CD e1005"}},
    {"a_full_house_has_a_backlog",
     kOldest,
     oldest(2, 2),
     "A@0c1S B@0c2S C@0c3S D@4c1E",
     {"0: AB", "=5", "5: D e1005", "=6", "6: C e1005"}},
    {"candidates_as_many_as_rows",
     kOldest,
     oldest(2, 0),
     "A@0c1S B@0c2S C@0c3S",
     {"0: AB", "=5", "5: e1005"}},
    {"shapes_do_not_mix",
     kOldest,
     oldest(4, 4),
     "A@0c1Ss7 B@0c2Ss8 C@0c3Ss7",
     {"0: A", "=5", "5: B e1005", "=6", "6: C e1005"}},
    {"the_delay_waits_for_more",
     kOldest,
     oldest(4, 4, 100),
     "A@0c1S B@9c2S",
     {"0: w100", "9: w100", "100: AB"}},
    {"a_preferred_size_goes_at_once",
     kOldest,
     oldest(4, 4, 100, {2}),
     "A@0c1S B@9c2S",
     {"0: w100", "9: AB"}},
    {"a_full_batch_goes_at_once", kOldest, oldest(2, 4, 100), "A@0c1S B@9c2S", {"9: AB"}},
    {"end_makes_room_for_a_candidate",
     kOldest,
     oldest(1, 1),
     "A@0c1SE B@0c2SE",
     {"0: A", "=5", "5: B", "=6", "6:"}},
    {"a_model_without_batches_oldest",
     kOldest,
     oldest(0, 4),
     "A@0c1S B@0c2S",
     {"0: A", "=5", "5: B e1005"}},

    // Idle
    {"idle_sequences_are_given_up",
     kDirect,
     slots(1),
     "A@0c1S B@2000c1",
     {"0: A", "=5", "5: e1005", "1005:", "2000: !B"}},
    {"a_step_in_time_keeps_it",
     kDirect,
     slots(1),
     "A@0c1S B@900c1",
     {"0: A", "=5", "5: e1005", "900: B", "=901", "901: e1901"}},
    {"an_idle_slot_goes_to_the_backlog",
     kOldest,
     oldest(1, 1),
     "A@0c1S B@1c2S",
     {"0: A", "=5", "5: e1005", "1005: B"}},
    {"executing_is_not_idle",
     kDirect,
     slots(1),
     "A@0c1S",
     {"0: A", "5000:", "=5001", "5001: e6001"}},
    {"the_backlog_is_not_idle",
     kDirect,
     slots(1),
     "A@0c1S B@0c2S C@4000c1E",
     {"0: A", "3000:", "=4001", "4001: C", "=4002", "4002: B"}},

    // Time-outs in the backlog
    {"a_timeout_ends_the_wait", kDirect, slots(1), "A@0c1S B@0c2St50", {"0: A e50", "50: !B"}},
    {"all_its_requests_go",
     kOldest,
     oldest(1, 1),
     "A@0c1S B@0c2S C@1c2t50",
     {"0: A", "1: e51", "51: !B !C"}},
    {"the_shortest_counts",
     kDirect,
     slots(1),
     "A@0c1S B@0c2St90 C@1c2t20",
     {"1: A e21", "21: !B !C"}},
    {"a_timeout_beyond_the_clock_is_never",
     kDirect,
     slots(1),
     "A@0c1SE B@0c2St18446744073709551615",
     {"0: A", "9:", "=60", "60: B"}},
    {"no_timeout_with_a_slot", kDirect, slots(1), "A@0c1SEt50 B@0c2St50", {"0: A", "=60", "60: B"}},
    {"a_step_that_comes_too_late_goes_too",
     kDirect,
     slots(1),
     "A@0c1S B@0c2St50 C@60c2",
     {"0: A e50", "60: !B !C"}},

    // Cancellation
    {"a_cancelled_step_ends_the_sequence",
     kDirect,
     slots(2),
     "A@0c1S B@1c1 C@1c1 -B@2 D@3c1",
     {"0: A", "3: !C !D", "=5", "5:"}},
    {"steps_before_it_run",
     kDirect,
     slots(1),
     "A@0c1S B@0c1 C@0c1 -C@0",
     {"0: A", "=5", "5: B", "=6", "6:"}},
    {"cancelling_the_first_step", kOldest, oldest(2, 2, 100), "A@0c1S B@0c1 -A@1", {"1: !B"}},
    {"a_cancelled_sequence_makes_room", kOldest, oldest(1, 1, 100), "A@0c1S B@0c2S -A@1", {"1: B"}},
    {"cancelling_in_the_backlog",
     kDirect,
     slots(1),
     "A@0c1SE B@0c2S C@0c3S -B@1",
     {"0: A", "=5", "5: C"}},

    // The delay hooks
    {"nothing_before_so_many_steps",
     kDirect,
     held(slots(2), 3, 0),
     "A@0c1S B@1c2S C@2c1",
     {"0:", "1:", "2: AB"}},
    {"nothing_before_such_a_backlog",
     kDirect,
     held(slots(1), 0, 2),
     "A@0c1SE B@1c2SE C@2c3SE",
     {"0:", "1:", "2: A", "=3", "3: B", "=4", "4: C"}},
};

class SequenceTable : public testing::TestWithParam<SequenceRow> {};

TEST_P(SequenceTable, SaysWhatItMust) {
  const SequenceRow& row = GetParam();
  Script script(row.policy, row.settings, row.arrivals);
  for (uint32_t id = 1; id <= row.instances; ++id) script.policy().add_instance(id, 0);
  for (const std::string answer : row.answers) {
    const size_t colon = answer.find(':');
    const size_t mark = answer.find('#');
    const InstanceId instance =
        mark < colon ? static_cast<InstanceId>(std::stoul(answer.substr(mark + 1))) : 1;
    if (answer[0] == '=') {
      script.over(std::stoull(answer.substr(1)), instance);
      continue;
    }
    const std::string expected = answer.size() > colon + 2 ? answer.substr(colon + 2) : "";
    EXPECT_EQ(script.ask(std::stoull(answer), instance), expected) << "at " << answer;
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, SequenceTable, testing::ValuesIn(kRows),
                         [](const auto& info) { return std::string(info.param.name); });

class SequenceTexts : public testing::TestWithParam<const char*> {};

TEST_P(SequenceTexts, AreTritons) {
  Script script(GetParam(), slots(4), "A@0S B@0c7 C@0c7Sr2 D@0c8S");
  script.policy().add_instance(1, 0);
  script.ask(0);
  EXPECT_EQ(script.text('A'),
            "inference request to model 'm' must specify a non-zero or non-empty correlation ID");
  EXPECT_EQ(script.text('B'),
            "inference request for sequence 7 to model 'm' must specify the START flag on the "
            "first request of the sequence");
  EXPECT_EQ(script.text('C'),
            "inference request to model 'm' must specify batch-size 1 due to requirements of "
            "sequence batcher");
}

INSTANTIATE_TEST_SUITE_P(Both, SequenceTexts, testing::Values(kDirect, kOldest));

class SequenceLife : public testing::TestWithParam<const char*> {
 protected:
  std::vector<Member> next(InstanceId instance = 1) {
    std::vector<Member> batch;
    policy_->next_batch(instance, now_ns_, &batch);
    return batch;
  }
  Request* step(uint64_t id, uint8_t flags) {
    Request& made = requests_.emplace_back();
    made.correlation_id = id;
    made.flags = flags;
    policy_->add(&made, now_ns_, &dropped_);
    return &made;
  }
  void make(PolicySettings settings) {
    policy_ = make_policy(GetParam(), settings);
    policy_->add_instance(1, now_ns_);
  }

  std::unique_ptr<Policy> policy_;
  std::deque<Request> requests_;
  std::vector<Dropped> dropped_;
  uint64_t now_ns_ = 1000;
};

TEST_P(SequenceLife, EachStartIsANewGenerationOfItsSlot) {
  make(slots(1));
  step(1, shm::kSequenceStart);
  std::vector<Member> batch = next();
  EXPECT_EQ(batch.at(0).generation, 1u);
  policy_->batch_over(1, batch, now_ns_);
  step(1, 0);
  batch = next();
  EXPECT_EQ(batch.at(0).generation, 1u) << "the same sequence";
  policy_->batch_over(1, batch, now_ns_);
  step(1, shm::kSequenceStart | shm::kSequenceEnd);
  step(2, shm::kSequenceStart);
  batch = next();
  EXPECT_EQ(batch.at(0).generation, 2u) << "begun anew";
  policy_->batch_over(1, batch, now_ns_);
  batch = next();
  EXPECT_EQ(batch.at(0).generation, 3u) << "another sequence";
  EXPECT_EQ(batch.at(0).slot, 0u);
  EXPECT_EQ(policy_->live_sequences(), 1u);
}

TEST_P(SequenceLife, AnInstanceTakesItsSequencesAlong) {
  make(slots(1));
  policy_->add_instance(2, now_ns_);
  step(1, shm::kSequenceStart);
  Request* other = step(2, shm::kSequenceStart);
  step(3, shm::kSequenceStart);
  Request* waiting = step(1, 0);
  EXPECT_EQ(next(1).size(), 1u);
  policy_->remove_instance(1, now_ns_, &dropped_);
  ASSERT_EQ(dropped_.size(), 1u);
  EXPECT_EQ(dropped_[0].request, waiting);
  EXPECT_EQ(dropped_[0].message,
            "the instance that held the state of sequence 1 of model 'm' is gone; the sequence "
            "must start again");
  dropped_.clear();
  step(1, 0);
  EXPECT_EQ(dropped_.size(), 1u) << "it must start again";
  EXPECT_EQ(next(2).at(0).request, other);
  policy_->add_instance(3, now_ns_);
  EXPECT_EQ(next(3).size(), 1u) << "the backlog found a slot";
}

TEST_P(SequenceLife, WithoutAnInstanceSequencesWait) {
  policy_ = make_policy(GetParam(), slots(2));
  Request* first = step(1, shm::kSequenceStart);
  EXPECT_TRUE(dropped_.empty());
  EXPECT_EQ(policy_->queued(), 1u);
  EXPECT_EQ(policy_->any(), first);
  policy_->add_instance(1, now_ns_);
  EXPECT_EQ(next().at(0).request, first);
}

TEST_P(SequenceLife, AfterStopOnlyLiveSequencesGoOn) {
  make(slots(2));
  step(1, shm::kSequenceStart);
  policy_->stop();
  step(1, shm::kSequenceEnd);
  EXPECT_TRUE(dropped_.empty());
  step(2, shm::kSequenceStart);
  ASSERT_EQ(dropped_.size(), 1u);
  EXPECT_EQ(dropped_[0].message,
            "Server is stopping, scheduler for model has stopped accepting new inference requests");
}

TEST_P(SequenceLife, IterativeRequestsComeBackUntilTheyAreAnswered) {
  PolicySettings settings = slots(1);
  settings.iterative = true;
  make(settings);
  Request* first = step(0, 0);  // gets a sequence of its own
  Request* second = step(0, 0);
  std::vector<Member> batch = next();
  EXPECT_EQ(batch.at(0).request, first);
  EXPECT_EQ(first->flags, shm::kSequenceStart);
  policy_->requeue(first, now_ns_, &dropped_);
  EXPECT_TRUE(next().empty()) << "its batch is not over";
  policy_->batch_over(1, batch, now_ns_);
  batch = next();
  EXPECT_EQ(batch.at(0).request, first);
  EXPECT_EQ(first->flags, 0);
  policy_->batch_over(1, batch, now_ns_);
  batch = next();
  EXPECT_EQ(batch.at(0).request, second) << "the first was not asked for again";
  policy_->batch_over(1, batch, now_ns_);
  EXPECT_EQ(policy_->live_sequences(), 0u);
  policy_->requeue(second, now_ns_, &dropped_);
  EXPECT_EQ(dropped_.size(), 1u) << "too late";
}

TEST_P(SequenceLife, TextIsACorrelationIdToo) {
  make(slots(2));
  Request& first = requests_.emplace_back();
  first.correlation_text = "seven";
  first.flags = shm::kSequenceStart;
  policy_->add(&first, now_ns_, &dropped_);
  Request& other = requests_.emplace_back();
  other.correlation_text = "eight";
  policy_->add(&other, now_ns_, &dropped_);
  ASSERT_EQ(dropped_.size(), 1u);
  EXPECT_EQ(dropped_[0].message,
            "inference request for sequence eight to model 'm' must specify the START flag on the "
            "first request of the sequence");
  EXPECT_EQ(next().at(0).request, &first);
}

INSTANTIATE_TEST_SUITE_P(Both, SequenceLife, testing::Values(kDirect, kOldest));

}  // namespace
}  // namespace pyserver::sched
