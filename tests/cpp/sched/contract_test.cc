// The contract: what every policy in the registry keeps, whatever arrives, leaves, executes and dies.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "sched/policy.h"
#include "shm/layout.h"

namespace pyserver::sched {
namespace {

constexpr uint32_t kMaxBatchSize = 8;
constexpr uint64_t kDelayUs = 50;
constexpr uint64_t kTimeoutUs = 400;
constexpr uint64_t kIdleUs = 300;
constexpr int kSteps = 100'000;

PolicySettings settings() {
  PolicySettings made;
  made.model = "m";
  made.max_batch_size = kMaxBatchSize;
  made.preferred_batch_sizes = {4};
  made.max_queue_delay_us = kDelayUs;
  made.priority_levels = 3;
  made.default_priority_level = 2;
  made.default_queue = {false, kTimeoutUs, true, 40};
  made.level_queues[3] = {true, kTimeoutUs, true, 0};
  made.max_sequence_idle_us = kIdleUs;
  made.minimum_slot_utilization = 0.5;
  made.max_candidate_sequences = 12;
  return made;
}

// Arrivals, executions of any length, cancellations and deaths at random, and the books of who is where.
class World {
 public:
  World(const PolicyRow& row, uint64_t seed)
      : policy_(row.make(settings())), sequences_(policy_->binds_instances()), random_(seed) {
    for (int count = 0; count < 3; ++count) begin_instance();
  }

  void step() {
    now_ns_ += below(20'000);
    const uint64_t choice = below(20);
    if (choice < 9) {
      arrive();
    } else if (choice == 9) {
      cancel();
    } else if (choice < 15) {
      finish();
    } else if (choice == 15 && below(50) == 0) {
      die();
    } else if (choice == 16 && below(10) == 0) {
      expire();
    } else {
      ask_all();
      if (running_.empty() && policy_->queued() > 0) wait();
    }
    check_books();
  }

  // Nothing more arrives: everything must be served or given up by the times that the policy itself names.
  void run_dry() {
    for (int turn = 0; turn < 100'000 && policy_->queued() > 0; ++turn) {
      while (!running_.empty()) finish();
      ask_all();
      if (policy_->queued() > 0 && running_.empty()) wait();
    }
    EXPECT_EQ(policy_->queued(), 0u);
    EXPECT_EQ(policy_->any(), nullptr);
    EXPECT_EQ(added_, served_ + given_up_);
  }

 private:
  struct Running {
    InstanceId instance;
    std::vector<Member> members;
  };

  // With every instance idle and nothing to run now, something happens at the time that the policy names, and not before.
  void wait() {
    const uint64_t wake_ns = std::min(policy_->wake_ns(), policy_->expiry_ns());
    ASSERT_NE(wake_ns, kNever) << policy_->queued() << " requests wait for nothing";
    const auto before = done();
    now_ns_ = wake_ns - 1;
    ask_all();
    ASSERT_EQ(done(), before) << "it happens before its time";
    now_ns_ = wake_ns;
    ask_all();
    ASSERT_NE(done(), before) << "woken for nothing";
  }

  // The same of what is given up or moved, whether instances are idle or not.
  void expire() {
    const uint64_t expiry_ns = policy_->expiry_ns();
    if (expiry_ns == kNever || expiry_ns <= now_ns_) return;
    const auto before = done();
    now_ns_ = expiry_ns - 1;
    policy_->drop_expired(now_ns_, &dropped_);
    give_up();
    ASSERT_EQ(done(), before) << "it expires before its time";
    now_ns_ = expiry_ns;
    policy_->drop_expired(now_ns_, &dropped_);
    give_up();
    ASSERT_NE(done(), before) << "nothing expires";
    ASSERT_GT(policy_->expiry_ns(), now_ns_);
  }

  // What changes when a policy does anything.
  std::tuple<uint64_t, uint64_t, size_t, size_t> done() const {
    const auto delayed = std::count_if(queued_.begin(), queued_.end(),
                                       [](const auto& one) { return one.first->delayed; });
    return {served_, given_up_, policy_->live_sequences(), static_cast<size_t>(delayed)};
  }

  uint64_t below(uint64_t limit) { return random_() % limit; }

  void begin_instance() {
    instances_.push_back(++last_instance_);
    policy_->add_instance(last_instance_, now_ns_);
  }

  void arrive() {
    if (free_.empty()) free_.push_back(&storage_.emplace_back());
    Request* request = free_.back();
    free_.pop_back();
    *request = Request{};
    request->signature = below(3);
    request->priority = below(5);
    request->timeout_us = below(4) == 0 ? 1 + below(2 * kTimeoutUs) : 0;
    if (sequences_) {
      request->correlation_id = below(40);  // now and then none
      request->flags = static_cast<uint8_t>((below(3) == 0 ? shm::kSequenceStart : 0) |
                                            (below(6) == 0 ? shm::kSequenceEnd : 0));
    } else {
      request->batch_size = static_cast<uint32_t>(below(kMaxBatchSize + 1));
    }
    ++added_;
    queued_[request] = ++number_;
    policy_->add(request, now_ns_, &dropped_);
    if (request->queued) waiting_[request->level].emplace(number_, request);
    sequence_of_[request] = request->sequence;
    give_up();
  }

  void cancel() {
    if (queued_.empty()) return;
    auto chosen = queued_.begin();
    std::advance(chosen, static_cast<std::ptrdiff_t>(below(std::min<size_t>(queued_.size(), 16))));
    Request* request = chosen->first;
    policy_->remove(request, now_ns_, &dropped_);
    ASSERT_FALSE(request->queued);
    forget(request);
    ++given_up_;
    give_up();
  }

  void finish() {
    if (running_.empty()) return;
    const size_t chosen = below(running_.size());
    const Running over = running_[chosen];
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(chosen));
    for (const Member& member : over.members) {
      if (member.request == nullptr) continue;
      in_flight_.erase({over.instance, member.slot});
      free_.push_back(member.request);
    }
    if (sequences_) policy_->batch_over(over.instance, over.members, now_ns_);
  }

  void die() {
    const size_t chosen = below(instances_.size());
    const InstanceId gone = instances_[chosen];
    instances_.erase(instances_.begin() + static_cast<std::ptrdiff_t>(chosen));
    std::erase_if(running_, [&](const Running& one) {
      if (one.instance != gone) return false;
      for (const Member& member : one.members) {
        if (member.request == nullptr) continue;
        in_flight_.erase({gone, member.slot});
        free_.push_back(member.request);
      }
      return true;
    });
    policy_->remove_instance(gone, now_ns_, &dropped_);
    give_up();
    begin_instance();
  }

  void ask_all() {
    policy_->drop_expired(now_ns_, &dropped_);
    give_up();
    ASSERT_GT(policy_->expiry_ns(), now_ns_);
    for (const InstanceId instance : instances_) {
      const bool busy = std::any_of(running_.begin(), running_.end(),
                                    [&](const Running& one) { return one.instance == instance; });
      if (busy) continue;
      std::vector<Member> batch;
      policy_->next_batch(instance, now_ns_, &batch);
      if (!batch.empty()) start(instance, std::move(batch));
    }
    if (policy_->wake_ns() != kNever) {
      ASSERT_GT(policy_->wake_ns(), now_ns_);
      ASSERT_LE(policy_->wake_ns(), now_ns_ + kDelayUs * 1000) << "it waits longer than it may";
    }
  }

  void start(InstanceId instance, std::vector<Member> batch) {
    uint64_t rows = 0;
    const Request* first = nullptr;
    for (const Member& member : batch) {
      rows += member.request == nullptr ? 1 : member.request->rows();
      if (member.request == nullptr) continue;
      Request* request = member.request;
      ASSERT_TRUE(queued_.contains(request)) << "given out twice";
      ASSERT_FALSE(request->queued);
      if (first == nullptr) first = request;
      ASSERT_EQ(request->signature, first->signature);
      if (sequences_) {
        ASSERT_NE(member.generation, 0u);
        ASSERT_TRUE(in_flight_.insert({instance, member.slot}).second)
            << "a slot executes two steps at once";
        uint64_t& last = last_step_[sequence_of_.at(request)];
        ASSERT_LT(last, queued_[request]) << "the steps of a sequence in their order";
        last = queued_[request];
      } else {
        expect_its_turn(*request);
      }
      forget(request);
      ++served_;
    }
    ASSERT_NE(first, nullptr) << "a batch of nothing";
    ASSERT_TRUE(batch.size() == 1 || rows <= kMaxBatchSize);
    running_.push_back({instance, std::move(batch)});
  }

  // Nothing that should go before it is still queued: a higher level, or an earlier one of its level.
  void expect_its_turn(const Request& request) {
    for (const auto& [level, numbers] : waiting_) {
      if (level > request.level) break;
      for (const auto& [number, other] : numbers) {
        if (other == &request) break;
        ASSERT_EQ(level, request.level) << "a higher level waits";
        ASSERT_TRUE(other->delayed) << "first in, first out";
      }
    }
    if (!request.delayed) return;
    for (const auto& [number, other] : waiting_[request.level]) {
      ASSERT_TRUE(other->delayed) << "one that is in time waits";
    }
  }

  void give_up() {
    for (const Dropped& one : dropped_) {
      ASSERT_TRUE(queued_.contains(one.request)) << "given up twice";
      ASSERT_FALSE(one.request->queued);
      ASSERT_FALSE(one.message.empty());
      forget(one.request);
      free_.push_back(one.request);
      ++given_up_;
    }
    dropped_.clear();
  }

  void forget(Request* request) {
    waiting_[request->level].erase(queued_.at(request));
    queued_.erase(request);
  }

  void check_books() {
    ASSERT_EQ(policy_->queued(), queued_.size());
    ASSERT_EQ(policy_->any() == nullptr, queued_.empty());
    ASSERT_EQ(added_, served_ + given_up_ + queued_.size());
  }

  std::unique_ptr<Policy> policy_;
  const bool sequences_;
  std::mt19937_64 random_;
  uint64_t now_ns_ = 1;
  std::deque<Request> storage_;
  std::vector<Request*> free_;
  std::unordered_map<Request*, uint64_t> queued_;             // and the number of its arrival
  std::map<uint64_t, std::map<uint64_t, Request*>> waiting_;  // by level and number
  // An id may be used again while steps of its ended sequence still wait, so order is kept by sequence, not by id.
  std::unordered_map<const Request*, const Sequence*> sequence_of_;
  std::unordered_map<const Sequence*, uint64_t>
      last_step_;  // the number of the last that was served
  std::vector<InstanceId> instances_;
  std::vector<Running> running_;
  std::set<std::pair<InstanceId, uint32_t>> in_flight_;  // slots
  std::vector<Dropped> dropped_;
  InstanceId last_instance_ = 0;
  uint64_t number_ = 0;
  uint64_t added_ = 0;
  uint64_t served_ = 0;
  uint64_t given_up_ = 0;
};

class PolicyContract : public testing::TestWithParam<PolicyRow> {};

TEST_P(PolicyContract, HoldsInAnyWorld) {
  for (const uint64_t seed : {1, 2}) {
    World world(GetParam(), seed);
    for (int step = 0; step < kSteps / 2; ++step) {
      world.step();
      if (HasFatalFailure()) FAIL() << "seed " << seed << ", step " << step;
    }
    world.run_dry();
    if (HasFatalFailure()) FAIL() << "seed " << seed << ", after the last arrival";
  }
}

TEST_P(PolicyContract, AfterStopTakesNothingThatIsNew) {
  const std::unique_ptr<Policy> policy = GetParam().make(settings());
  policy->stop();
  Request requests[2];
  std::vector<Dropped> dropped;
  for (Request& request : requests) {
    request.correlation_id = 1;
    request.flags = shm::kSequenceStart;
  }
  requests[1].begun = true;
  for (Request& request : requests) policy->add(&request, 1, &dropped);
  ASSERT_EQ(dropped.size(), 1u);
  EXPECT_EQ(dropped[0].request, &requests[0]);
  EXPECT_EQ(dropped[0].code, base::Code::kUnavailable);
  EXPECT_FALSE(dropped[0].prefixed);
  EXPECT_EQ(dropped[0].message,
            "Server is stopping, scheduler for model has stopped accepting new inference requests");
  EXPECT_EQ(policy->queued(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Registry, PolicyContract, testing::ValuesIn(kPolicies),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Fifo, RemovesFromAnywhere) {
  Fifo fifo;
  Request requests[3];
  for (Request& request : requests) fifo.push_back(&request);
  fifo.remove(&requests[1]);
  EXPECT_EQ(fifo.size(), 2u);
  EXPECT_EQ(fifo.front(), &requests[0]);
  EXPECT_EQ(requests[0].next, &requests[2]);
  fifo.remove(&requests[0]);
  fifo.remove(&requests[2]);
  EXPECT_EQ(fifo.front(), nullptr);
}

}  // namespace
}  // namespace pyserver::sched
