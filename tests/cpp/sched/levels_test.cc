// Priorities, time-outs and queue sizes of the dynamic batcher, as scripts (script.h).
#include "sched/script.h"

namespace pyserver::sched {
namespace {

PolicySettings batches(uint32_t max, uint64_t delay_us = 0, std::vector<uint32_t> preferred = {}) {
  PolicySettings made;
  made.max_batch_size = max;
  made.max_queue_delay_us = delay_us;
  made.preferred_batch_sizes = std::move(preferred);
  return made;
}

PolicySettings levels(uint64_t count, uint64_t by_default, uint32_t max = 1,
                      uint64_t delay_us = 0) {
  PolicySettings made = batches(max, delay_us);
  made.priority_levels = count;
  made.default_priority_level = by_default;
  return made;
}

PolicySettings with(PolicySettings made, QueuePolicy policy) {
  made.default_queue = policy;
  return made;
}

PolicySettings with(PolicySettings made, uint64_t level, QueuePolicy policy) {
  made.level_queues[level] = policy;
  return made;
}

PolicySettings held(PolicySettings made, uint64_t count) {
  made.delay_scheduler = count;
  return made;
}

constexpr QueuePolicy kReject50{false, 50, false, 0};
constexpr QueuePolicy kDelay50{true, 50, false, 0};
constexpr QueuePolicy kRejectOwn{false, 50, true, 0};
constexpr QueuePolicy kDelayOwn{true, 50, true, 0};
constexpr QueuePolicy kTwo{false, 0, false, 2};

const std::vector<ScriptRow> kRows = {
    // Priorities
    {"the_highest_level_goes_first", levels(3, 2), "A@0p3 B@0p2 C@0p1", {"0: C B A"}},
    {"within_a_level_first_in_first_out", levels(2, 1), "A@0p2 B@0p1 C@0p2 D@0p1", {"0: B D A C"}},
    {"no_priority_is_the_default_level", levels(3, 2), "A@0p3 B@0 C@0p1", {"0: C B A"}},
    {"beyond_the_levels_is_the_default_level", levels(3, 2), "A@0p3 B@0p9 C@0p1", {"0: C B A"}},
    {"the_last_level_exists", levels(3, 1), "A@0p3 B@0", {"0: B A"}},
    {"without_levels_priority_means_nothing", batches(1), "A@0p9 B@0p1", {"0: A B"}},
    {"a_batch_may_span_levels", levels(3, 2, 4), "A@0p3 B@0p2 C@0p1", {"0: CBA"}},
    {"a_full_batch_takes_the_highest", levels(2, 2, 2), "A@0p2 B@0p2 C@0p1", {"0: CA B"}},
    {"rows_count_across_levels", levels(2, 2, 4), "A@0p2r2 B@0p2r2 C@0p1r3", {"0: C AB"}},
    {"shapes_do_not_mix_across_levels", levels(2, 2, 4), "A@0p2s1 B@0p1s2", {"0: B A"}},
    {"a_later_urgent_request_overtakes", levels(2, 2), "A@0p2 B@1p2 C@2p1", {"0: A", "2: C B"}},
    {"an_urgent_arrival_enters_the_pending_batch",
     levels(2, 2, 2, 100),
     "A@0p2 B@5p1",
     {"1: w100", "5: BA"}},
    {"an_urgent_arrival_pushes_out_what_was_pending",
     levels(2, 2, 3, 100),
     "A@0p2r2 B@5p1r2",
     {"1: w100", "5: B w100"}},
    {"an_urgent_other_shape_ends_the_waiting",
     levels(2, 2, 4, 100),
     "A@0p2s1 B@5p1s2",
     {"1: w100", "5: B w100"}},
    {"a_less_urgent_arrival_joins_behind",
     levels(2, 1, 2, 100),
     "A@0p1 B@5p2",
     {"1: w100", "5: AB"}},
    {"the_delay_runs_from_the_oldest_of_all_levels",
     levels(2, 2, 4, 100),
     "A@0p2 B@50p1",
     {"60: w100", "100: BA"}},
    {"an_urgent_arrival_between_levels",
     levels(3, 2, 8, 100),
     "A@0p1 B@0p3 C@5p2",
     {"1: w100", "100: ACB"}},
    {"many_levels", levels(1'000'000'000, 1), "A@0p999999999 B@0p5 C@0", {"0: C B A"}},
    {"cancelling_the_highest", levels(2, 2, 1), "A@0p2 B@0p1 -B@1", {"1: A"}},
    {"cancelling_the_only_one_of_a_level", levels(3, 2, 1), "A@0p1 B@0p2 C@0p3 -B@1", {"1: A C"}},
    {"default_level_one", levels(2, 1), "A@0p2 B@0p0", {"0: B A"}},
    {"priority_and_preferred_size",
     [] {
       PolicySettings made = levels(2, 2, 8, 100);
       made.preferred_batch_sizes = {2};
       return made;
     }(),
     "A@0p2 B@0p2 C@1p1",
     {"1: CA w100"}},

    // Queue sizes
    {"a_full_queue_refuses", with(batches(1), kTwo), "A@0 B@0 C@0", {"0: A B !C"}},
    {"room_again_after_a_batch", with(batches(1), kTwo), "A@0 B@0 C@5 D@5", {"0: A B", "5: C D"}},
    {"room_again_after_a_cancellation",
     with(batches(8, 100), kTwo),
     "A@0 B@0 -A@1 C@2",
     {"2: w100", "100: BC"}},
    {"each_level_has_its_own_size",
     with(levels(2, 1), kTwo),
     "A@0p1 B@0p1 C@0p2 D@0p2 E@0p1",
     {"0: A B C D !E"}},
    {"a_levels_own_size",
     with(levels(2, 1), 2, {false, 0, false, 1}),
     "A@0p2 B@0p2 C@0p1 D@0p1",
     {"0: C D A !B"}},
    {"a_levels_own_policy_replaces_the_default",
     with(with(levels(2, 1), kTwo), 1, {}),
     "A@0 B@0 C@0",
     {"0: A B C"}},
    {"delayed_requests_count",
     with(batches(8, 100), {true, 10, false, 2}),
     "A@0 B@0 C@20",
     {"15: w100", "20: !C w100", "100: AB"}},
    {"no_size_is_no_limit", batches(4), "A@0 B@0 C@0 D@0 E@0 F@0", {"0: ABCD EF"}},

    // Time-outs: REJECT
    {"a_timed_out_request_is_refused",
     with(batches(8, 100), kReject50),
     "A@0",
     {"49: w100 e50", "50: !A"}},
    {"refusal_needs_no_arrival",
     with(batches(8, 200), kReject50),
     "A@0 B@30",
     {"30: w200 e50", "50: !A w230 e80", "80: !B"}},
    {"in_time_is_served", with(batches(1), kReject50), "A@0 B@0", {"49: A B"}},
    {"late_is_refused_before_batches_are_formed",
     with(batches(1), kReject50),
     "A@0 B@40",
     {"60: B !A"}},
    {"all_late", with(batches(4), kReject50), "A@0 B@1 C@2", {"90: !A !B !C"}},
    {"what_remains_waits_from_its_own_arrival",
     with(batches(8, 100), kReject50),
     "A@0 B@40",
     {"50: !A w140 e90"}},
    {"without_override_the_own_timeout_counts_not",
     with(batches(8, 100), kReject50),
     "A@0t10",
     {"20: w100 e50", "50: !A"}},
    {"with_override_a_shorter_one_counts",
     with(batches(8, 100), kRejectOwn),
     "A@0t10",
     {"5: w100 e10", "10: !A"}},
    {"with_override_a_longer_one_counts_not",
     with(batches(8, 100), kRejectOwn),
     "A@0t90",
     {"5: w100 e50", "50: !A"}},
    {"with_override_an_equal_one_changes_nothing",
     with(batches(8, 100), kRejectOwn),
     "A@0t50",
     {"5: w100 e50"}},
    {"with_override_zero_is_the_default",
     with(batches(8, 100), kRejectOwn),
     "A@0t0",
     {"5: w100 e50"}},
    {"without_a_default_the_own_timeout_counts_not",
     with(batches(8, 100), {false, 0, true, 0}),
     "A@0t10",
     {"50: w100", "100: A"}},
    {"own_timeouts_end_out_of_order",
     with(batches(8, 100), kRejectOwn),
     "A@0t40 B@0t10 C@0t20",
     {"5: w100 e10", "10: !B w100 e20", "20: !C w100 e40", "40: !A"}},
    {"a_cancelled_request_times_out_no_more",
     with(batches(8, 100), kReject50),
     "A@0 B@10 -A@20",
     {"20: w110 e60"}},
    {"a_served_request_times_out_no_more", with(batches(1), kReject50), "A@0", {"0: A", "99:"}},
    {"refusal_lets_another_shape_go_on",
     with(batches(8, 100), kReject50),
     "A@0s1 B@30s2",
     {"10: w100 e50", "50: !A w130 e80"}},
    {"a_timeout_beyond_the_clock_is_never",
     with(batches(8, 100), {false, UINT64_MAX, false, 0}),
     "A@5",
     {"6: w105", "105: A"}},
    {"a_delay_beyond_the_clock_is_never",
     with(batches(2, UINT64_MAX), kReject50),
     "A@5 B@70 C@71",
     {"6: e55", "55: !A", "71: BC"}},
    {"timeouts_by_level",
     with(with(levels(2, 2, 8, 200), kReject50), 1, {false, 20, false, 0}),
     "A@0p1 B@0p2",
     {"10: w200 e20", "20: !A w200 e50", "50: !B"}},
    {"a_level_without_timeout",
     with(with(levels(2, 2, 8, 200), kReject50), 1, {}),
     "A@0p1 B@0p2",
     {"50: !B w200", "200: A"}},

    // Time-outs: DELAY
    {"a_delayed_request_is_served_last_of_its_level",
     with(batches(1), kDelay50),
     "A@0 B@40 C@60",
     {"60: B C A"}},
    {"delayed_ones_keep_their_order", with(batches(1), kDelay50), "A@0 B@1 C@60", {"60: C A B"}},
    {"a_delayed_request_is_not_refused", with(batches(1), kDelay50), "A@0", {"90: A"}},
    {"delayed_before_lower_levels",
     with(levels(2, 2), kDelay50),
     "A@0p1 B@60p2 C@60p1",
     {"60: C A B"}},
    {"delayed_after_its_own_level",
     with(levels(2, 2), kDelay50),
     "A@0p2 B@60p2 C@60p1",
     {"60: C B A"}},
    {"delayed_joins_the_batch_behind", with(batches(4), kDelay50), "A@0 B@60", {"60: BA"}},
    {"an_arrival_goes_before_a_pending_delayed_one",
     with(batches(4, 200), kDelay50),
     "A@0 B@60",
     {"55: w200", "60: w200 e110", "110: w200", "200: AB"}},
    {"the_move_has_its_time", with(batches(8, 100), kDelay50), "A@0", {"10: w100 e50", "50: w100"}},
    {"delay_with_own_timeout", with(batches(1), kDelayOwn), "A@0t10 B@20", {"20: B A"}},
    {"cancelling_a_delayed_request",
     with(batches(8, 200), kDelay50),
     "A@0 B@60 -A@70",
     {"60: w200 e110", "70: w260 e110"}},
    {"reject_and_delay_by_level",
     with(with(levels(2, 2), kDelay50), 1, kReject50),
     "A@0p1 B@0p2 C@55p2",
     {"60: C B !A"}},
    {"a_delayed_request_and_another_shape",
     with(batches(8), kDelay50),
     "A@0s1 B@60s2",
     {"60: B A"}},

    // The delay hook of Triton's users
    {"nothing_before_so_many_are_queued",
     held(batches(8), 3),
     "A@0 B@1 C@2",
     {"0:", "1:", "2: ABC"}},
    {"once_only", held(batches(8), 2), "A@0 B@1 C@5", {"0:", "1: AB", "5: C"}},
    {"more_than_a_batch", held(batches(2), 5), "A@0 B@0 C@0 D@0 E@1", {"0:", "1: AB CD E"}},
    {"held_back_requests_time_out",
     held(with(batches(8), kReject50), 3),
     "A@0 B@0",
     {"10: e50", "50: !A !B"}},
    {"held_back_with_priorities", held(levels(2, 2), 3), "A@0p2 B@0p2 C@1p1", {"0:", "1: C A B"}},

    // Never waiting when waiting cannot help; the eager rest
    {"a_full_batch_does_not_wait", batches(2, 1000), "A@0 B@1", {"1: AB"}},
    {"rows_fill_it", batches(4, 1000), "A@0r3 B@0r1", {"0: AB"}},
    {"what_cannot_join_ends_the_waiting", batches(4, 1000), "A@0r3 B@0r2", {"0: A w1000"}},
    {"one_that_fills_it_alone", batches(4, 1000), "A@0r4", {"0: A"}},
    {"an_oversized_request_goes_alone", batches(4, 1000), "A@0r9", {"0: A"}},
    {"beyond_the_largest_preferred", batches(8, 1000, {2, 4}), "A@0r3 B@0r3", {"0: A w1000"}},
    {"it_grows_until_an_instance_is_idle", batches(8), "A@0 B@1 C@2 D@3", {"3: ABCD"}},
    {"a_cancellation_makes_room", batches(2, 100), "A@0 -A@5 B@6", {"0: w100", "6: w106"}},
    {"cancelling_within_the_pending_batch",
     batches(4, 100),
     "A@0 B@1 C@2 -B@3",
     {"2: w100", "3: w100", "100: AC"}},
    {"cancelling_what_ended_the_waiting",
     batches(4, 100),
     "A@0s1 B@1s2 -B@2 C@3s1",
     {"3: w100", "100: AC"}},
    {"no_rows_count_as_one", batches(2), "A@0r0 B@0r0 C@0r0", {"0: AB C"}},
    {"a_model_without_batches", batches(0), "A@0 B@0", {"0: A B"}},
    {"a_model_without_batches_never_waits", batches(0, 1000), "A@0 B@0", {"0: A B"}},
    {"priorities_of_a_model_without_batches", levels(2, 2, 0), "A@0 B@0p1", {"0: B A"}},
    {"timeouts_of_a_model_without_batches", with(batches(0), kReject50), "A@0 B@40", {"60: B !A"}},
};

// Of these things the policy without batches knows the size of its queue only.
const std::vector<ScriptRow> kDirectRows = {
    {"first_in_first_out", batches(8), "A@0 B@1 C@2", {"2: A B C"}},
    {"priority_means_nothing", levels(3, 2, 8), "A@0p3 B@0p2 C@0p1", {"0: A B C"}},
    {"a_full_queue_refuses", with(batches(8), kTwo), "A@0 B@0 C@0", {"0: A B !C"}},
    {"room_again_after_a_batch", with(batches(8), kTwo), "A@0 B@0 C@5", {"0: A B", "5: C"}},
    {"room_again_after_a_cancellation", with(batches(8), kTwo), "A@0 B@0 -A@1 C@2", {"2: B C"}},
    {"a_cancelled_request_is_passed_over", batches(8), "A@0 B@0 C@0 -B@1", {"1: A C"}},
    {"cancelling_all", batches(8), "A@0 -A@1", {"1:"}},
    {"it_names_no_times", batches(8, 100), "A@0t10", {"0: A", "50:"}},
};

class LevelsTable : public testing::TestWithParam<ScriptRow> {};

TEST_P(LevelsTable, SaysWhatItMust) { expect_script("dynamic", GetParam()); }

INSTANTIATE_TEST_SUITE_P(Rows, LevelsTable, testing::ValuesIn(kRows),
                         [](const auto& info) { return std::string(info.param.name); });

class DirectTable : public testing::TestWithParam<ScriptRow> {};

TEST_P(DirectTable, SaysWhatItMust) { expect_script("direct", GetParam()); }

INSTANTIATE_TEST_SUITE_P(Rows, DirectTable, testing::ValuesIn(kDirectRows),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Levels, RefusalsHaveTritonsTexts) {
  Script full("dynamic", with(batches(8, 100), kTwo), "A@0 B@0 C@0");
  full.ask(0);
  EXPECT_EQ(full.text('C'), "Exceeds maximum queue size");
  Script late("dynamic", with(batches(8, 100), kReject50), "A@0");
  late.ask(50);
  EXPECT_EQ(late.text('A'), "Request timeout expired");
}

}  // namespace
}  // namespace pyserver::sched
