// Scheduling rules as tables: (arrivals, now) -> batches, run without a process or a clock.
#include "sched/policy.h"

#include <gtest/gtest.h>

#include <deque>
#include <string>

namespace pyserver::sched {
namespace {

struct Arrival {
  uint64_t at_us;
  uint32_t rows;
  uint64_t signature = 0;
};

struct Row {
  const char* name;
  const char* policy;
  PolicySettings settings;
  std::vector<Arrival> arrivals;  // all before `ask_us`
  uint64_t ask_us;
  std::vector<size_t> batches;  // requests per batch, asked again and again at `ask_us`
  uint64_t wake_us = kNever;    // what the policy says after its last empty answer
};

std::unique_ptr<Policy> make(const std::string& name, const PolicySettings& settings) {
  for (const PolicyRow& row : kPolicies) {
    if (name == row.name) return row.make(settings);
  }
  return nullptr;
}

class PolicyTable : public testing::TestWithParam<Row> {};

TEST_P(PolicyTable, FormsTheExpectedBatches) {
  const Row& row = GetParam();
  const auto policy = make(row.policy, row.settings);
  ASSERT_NE(policy, nullptr);
  std::deque<Request> requests;
  for (const Arrival& arrival : row.arrivals) {
    Request& request = requests.emplace_back();
    request.batch_size = arrival.rows;
    request.signature = arrival.signature;
    std::vector<Dropped> dropped;
    policy->add(&request, arrival.at_us * 1000, &dropped);
    ASSERT_TRUE(dropped.empty());
  }
  std::vector<size_t> batches;
  for (;;) {
    std::vector<Member> batch;
    policy->next_batch(1, row.ask_us * 1000, &batch);
    if (batch.empty()) break;
    batches.push_back(batch.size());
  }
  EXPECT_EQ(batches, row.batches);
  EXPECT_EQ(policy->wake_ns(), row.wake_us == kNever ? kNever : row.wake_us * 1000);
}

PolicySettings settings(uint32_t max, std::vector<uint32_t> preferred = {}, uint64_t delay_us = 0) {
  PolicySettings made;
  made.max_batch_size = max;
  made.preferred_batch_sizes = std::move(preferred);
  made.max_queue_delay_us = delay_us;
  return made;
}

PolicySettings dynamic(uint32_t max, std::vector<uint32_t> preferred = {}, uint64_t delay_us = 0) {
  return settings(max, std::move(preferred), delay_us);
}

const std::vector<Row> kRows = {
    {"direct_runs_one_request_at_a_time",
     "direct",
     settings(8),
     {{0, 1}, {0, 1}, {0, 2}},
     0,
     {1, 1, 1}},
    {"direct_has_nothing_to_run", "direct", {}, {}, 0, {}},
    {"direct_takes_any_size_and_shape",
     "direct",
     settings(8),
     {{0, 8, 7}, {0, 0, 9}, {0, 9, 7}},
     0,
     {1, 1, 1}},
    {"direct_never_waits", "direct", settings(8, {4}, 100), {{0, 1}}, 0, {1}},
    {"nothing_queued", "dynamic", dynamic(8), {}, 0, {}},
    {"without_delay_sends_what_is_there", "dynamic", dynamic(8), {{0, 1}, {0, 1}, {0, 1}}, 0, {3}},
    {"never_more_than_max_batch_size",
     "dynamic",
     dynamic(4),
     {{0, 1}, {0, 1}, {0, 1}, {0, 1}, {0, 1}, {0, 1}},
     0,
     {4, 2}},
    {"rows_count_not_requests",
     "dynamic",
     dynamic(4),
     {{0, 3}, {0, 1}, {0, 2}, {0, 2}, {0, 1}},
     0,
     {2, 2, 1}},
    {"a_request_that_does_not_fit_waits_for_the_next_batch",
     "dynamic",
     dynamic(4),
     {{0, 3}, {0, 2}},
     0,
     {1, 1}},
    {"a_full_size_request_goes_alone", "dynamic", dynamic(4), {{0, 4}, {0, 4}}, 0, {1, 1}},
    {"batch_size_zero_counts_as_one", "dynamic", dynamic(2), {{0, 0}, {0, 0}, {0, 0}}, 0, {2, 1}},
    {"no_batching_model_degenerates", "dynamic", dynamic(0), {{0, 1}, {0, 1}}, 0, {1, 1}},
    {"other_shapes_do_not_mix",
     "dynamic",
     dynamic(8),
     {{0, 1, 7}, {0, 1, 7}, {0, 1, 9}, {0, 1, 7}},
     0,
     {2, 1, 1}},
    {"another_shape_ends_the_waiting",
     "dynamic",
     dynamic(8, {}, 100),
     {{0, 1, 7}, {0, 1, 9}},
     10,
     {1},
     100},
    {"preferred_size_goes_at_once",
     "dynamic",
     dynamic(8, {4}, 100),
     {{0, 1}, {0, 1}, {0, 1}, {0, 1}},
     1,
     {4}},
    {"below_the_preferred_size_waits",
     "dynamic",
     dynamic(8, {4}, 100),
     {{0, 1}, {0, 1}, {0, 1}},
     1,
     {},
     100},
    {"the_delay_runs_from_the_oldest",
     "dynamic",
     dynamic(8, {4}, 100),
     {{5, 1}, {50, 1}},
     60,
     {},
     105},
    {"after_the_delay_all_go",
     "dynamic",
     dynamic(8, {4}, 100),
     {{0, 1}, {10, 1}, {20, 1}},
     100,
     {3}},
    {"without_delay_preferred_is_not_waited_for",
     "dynamic",
     dynamic(8, {4, 8}),
     {{0, 1}, {0, 1}, {0, 1}},
     0,
     {3}},
    {"the_largest_preferred_that_is_met",
     "dynamic",
     dynamic(8, {2, 4}),
     {{0, 1}, {0, 1}, {0, 1}, {0, 1}, {0, 1}},
     0,
     {4, 1}},
    {"the_rest_after_a_preferred_batch_waits",
     "dynamic",
     dynamic(8, {4}, 100),
     {{0, 1}, {0, 1}, {0, 1}, {0, 1}, {3, 1}},
     5,
     {4},
     103},
    {"past_the_largest_preferred_the_last_fit_goes",
     "dynamic",
     dynamic(8, {4}, 100),
     {{0, 3}, {0, 3}},
     1,
     {1},
     100},
    {"a_whole_batch_never_waits", "dynamic", dynamic(4, {}, 1000), {{0, 2}, {0, 2}}, 1, {2}},
    {"default_preferred_is_max", "dynamic", dynamic(4, {}, 1000), {{0, 1}, {0, 2}}, 1, {}, 1000},
};

INSTANTIATE_TEST_SUITE_P(Rows, PolicyTable, testing::ValuesIn(kRows),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace pyserver::sched
