// Batches wait for their instances' resources (--rate-limit=execution_count), and go on when these come back.
#include "engine/harness.h"

#include <algorithm>
#include <map>
#include <random>

namespace pyserver::engine {
namespace {

constexpr uint64_t kMs = 1'000'000;

InstanceLimits needs(uint64_t count, uint32_t priority = 1) {
  return {.priority = priority, .needs = {{"R", count}}};
}

struct Running {
  uint64_t batch = 0;
  std::vector<uint64_t> tickets;
};

class TurnsTest : public EngineTest {
 protected:
  TurnsTest() : frontend_(join(PeerKind::kFrontend)) { engine_->limit_rates({}); }

  void add(uint32_t model, std::vector<InstanceLimits> instances, const std::string& policy,
           sched::PolicySettings queue = {}) {
    add_model(model, policy, std::move(queue), false, std::move(instances));
  }

  std::unique_ptr<FakePeer> instance_of(uint32_t model, size_t index = 0) {
    auto made = join(PeerKind::kInstance);
    EXPECT_TRUE(engine_->add_instance(model, made->id, now_ns_, index).ok());
    return made;
  }

  // One instance that needs so much, of a model of its own.
  std::unique_ptr<FakePeer> served(uint32_t model, uint64_t needed,
                                   const std::string& policy = "direct",
                                   sched::PolicySettings queue = {}) {
    add(model, {needs(needed)}, policy, std::move(queue));
    return instance_of(model);
  }

  void cancel(uint64_t ticket) {
    shm::Cancel record;
    record.ticket = ticket;
    frontend_->send(record);
  }

  // What the instance was given; no tickets: nothing.
  static Running given(FakePeer& instance) {
    Running made;
    std::optional<shm::Record> record = instance.take();
    if (!record || record->kind != shm::Kind::kBatch) return made;
    const auto head = shm::unpack<shm::BatchHead>(*record);
    made.batch = head.batch;
    for (uint32_t index = 0; index < head.request_count; ++index) {
      made.tickets.push_back(instance.expect<shm::Execute>(shm::Kind::kExecute).ticket);
    }
    return made;
  }

  void finish(FakePeer& instance, const Running& running) {
    for (const uint64_t ticket : running.tickets) respond(instance, ticket);
    done(instance, running.batch);
  }

  // The frontend's answers, given back.
  size_t answers() {
    size_t count = 0;
    while (const std::optional<shm::Record> record = frontend_->take()) {
      if (record->kind != shm::Kind::kReply) continue;
      ++count;
      const auto reply = shm::unpack<shm::Reply>(*record);
      if (reply.lease != 0) give_back(*frontend_, reply.lease);
    }
    return count;
  }

  std::unique_ptr<FakePeer> frontend_;
};

TEST_F(TurnsTest, ABatchWaitsForAResourceUntilItsHolderIsDone) {
  const auto one = served(1, 2);
  const auto other = served(2, 1);
  submit(*frontend_, 1, 1);
  turn();
  const Running first = given(*one);
  ASSERT_EQ(first.tickets.size(), 1u);
  submit(*frontend_, 2, 2);
  turn();
  EXPECT_TRUE(given(*other).tickets.empty());
  finish(*one, first);
  turn();
  const Running second = given(*other);
  ASSERT_EQ(second.tickets.size(), 1u);
  finish(*other, second);
  turn();
  EXPECT_EQ(answers(), 2u);
  turn();
  expect_nothing_left();
}

TEST_F(TurnsTest, AResourceIsFreeWhenExecuteReturnsWhateverIsStillToBeAnswered) {
  const auto one = served(1, 1);
  const auto other = served(2, 1);
  submit(*frontend_, 1, 1);
  submit(*frontend_, 2, 2);
  turn();
  const Running first = given(*one);
  ASSERT_EQ(first.tickets.size(), 1u);
  respond(*one, first.tickets[0]);  // nor is it free because all is answered
  turn();
  EXPECT_TRUE(given(*other).tickets.empty());
  done(*one, first.batch);
  turn();
  const Running second = given(*other);
  ASSERT_EQ(second.tickets.size(), 1u);
  done(*other, second.batch);
  submit(*frontend_, 3, 1);
  turn();
  EXPECT_EQ(given(*one).tickets.size(), 1u);
}

TEST_F(TurnsTest, ADeadHoldersResourcesComeBackAtOnce) {
  const auto one = served(1, 2);
  const auto other = served(2, 1);
  submit(*frontend_, 1, 1);
  submit(*frontend_, 2, 2);
  turn();
  ASSERT_EQ(given(*one).tickets.size(), 1u);
  EXPECT_TRUE(given(*other).tickets.empty());
  engine_->retire_peer(one->id, "died", now_ns_);
  turn();
  EXPECT_EQ(given(*other).tickets.size(), 1u);
}

TEST_F(TurnsTest, ADeadOnesSuccessorHasItsSeatAndWaitsInTurn) {
  const auto one = served(1, 2);
  const auto other = served(2, 1);
  submit(*frontend_, 1, 1);
  submit(*frontend_, 2, 1);
  turn();
  ASSERT_EQ(given(*one).tickets.size(), 1u);
  engine_->retire_peer(one->id, "died", now_ns_);
  submit(*frontend_, 3, 2);
  turn();
  const Running running = given(*other);
  ASSERT_EQ(running.tickets.size(), 1u);
  const auto successor = instance_of(1);
  turn();
  EXPECT_TRUE(given(*successor).tickets.empty());
  finish(*other, running);
  turn();
  EXPECT_EQ(given(*successor).tickets.size(), 1u);
}

TEST_F(TurnsTest, ARemovedModelsResourcesComeBack) {
  const auto one = served(1, 1);
  const auto other = served(2, 1);
  submit(*frontend_, 1, 1);
  submit(*frontend_, 2, 2);
  turn();
  ASSERT_EQ(given(*one).tickets.size(), 1u);
  engine_->remove_model(1);
  turn();
  EXPECT_EQ(given(*other).tickets.size(), 1u);
  engine_->retire_peer(one->id, "its model is gone", now_ns_);
}

TEST_F(TurnsTest, ALeavingInstanceHoldsWhatItExecutesWith) {
  const auto one = served(1, 1);
  submit(*frontend_, 1, 1);
  submit(*frontend_, 2, 1);
  turn();
  const Running first = given(*one);
  engine_->remove_instance(one->id, now_ns_);
  const auto successor = join(PeerKind::kInstance);
  EXPECT_FALSE(engine_->add_instance(1, successor->id, now_ns_).ok());
  finish(*one, first);
  turn();
  ASSERT_TRUE(engine_->add_instance(1, successor->id, now_ns_).ok());
  turn();
  EXPECT_EQ(given(*successor).tickets.size(), 1u);
  EXPECT_TRUE(given(*one).tickets.empty());
}

TEST_F(TurnsTest, AnInstanceThatWaitsMayLeave) {
  const auto one = served(1, 1);
  const auto other = served(2, 1);
  submit(*frontend_, 1, 1);
  submit(*frontend_, 2, 2);
  turn();
  const Running first = given(*one);
  engine_->remove_instance(other->id, now_ns_);
  const auto successor = instance_of(2);
  finish(*one, first);
  turn();
  EXPECT_TRUE(given(*other).tickets.empty());
  EXPECT_EQ(given(*successor).tickets.size(), 1u);
}

TEST_F(TurnsTest, AQuickInstanceIsSentOneBatchAtATime) {
  const auto one = served(1, 1);
  submit(*frontend_, 1, 1);
  turn();
  finish(*one, given(*one));  // within 60 ns
  for (uint64_t ticket = 2; ticket < 6; ++ticket) submit(*frontend_, ticket, 1);
  turn();
  EXPECT_EQ(given(*one).tickets.size(), 1u);
  EXPECT_TRUE(given(*one).tickets.empty());
}

TEST_F(TurnsTest, ABatchGrowsWhileItWaits) {
  const auto one = served(1, 1);
  const auto other = served(2, 1, "dynamic", {.max_batch_size = 8});
  submit(*frontend_, 1, 1);
  submit(*frontend_, 2, 2);
  turn();
  const Running first = given(*one);
  submit(*frontend_, 3, 2);
  submit(*frontend_, 4, 2);
  turn();
  cancel(3);
  finish(*one, first);
  turn();
  EXPECT_EQ(given(*other).tickets.size(), 2u);
}

TEST_F(TurnsTest, WhoseRequestsAreCancelledGivesWay) {
  const auto one = served(1, 1);
  const auto big = served(2, 2);
  const auto small = served(3, 1);
  submit(*frontend_, 1, 1);
  turn();
  ASSERT_EQ(given(*one).tickets.size(), 1u);
  submit(*frontend_, 2, 2);
  turn();
  submit(*frontend_, 3, 3);
  turn();
  EXPECT_TRUE(given(*small).tickets.empty());  // or the big one would never have its turn
  cancel(2);
  turn();
  EXPECT_EQ(given(*small).tickets.size(), 1u);
  EXPECT_TRUE(given(*big).tickets.empty());
}

TEST_F(TurnsTest, ARequestTimesOutWhileItWaits) {
  const auto one = served(1, 1);
  const auto other =
      served(2, 1, "dynamic", {.max_batch_size = 8, .default_queue = {.default_timeout_us = 5000}});
  submit(*frontend_, 1, 1);
  submit(*frontend_, 2, 2);
  turn();
  const Running first = given(*one);
  ASSERT_LE(engine_->wake_ns(), now_ns_ + 5 * kMs);
  now_ns_ += 6 * kMs;
  turn();
  EXPECT_EQ(answers(), 1u);
  finish(*one, first);
  turn();
  EXPECT_TRUE(given(*other).tickets.empty());
}

TEST_F(TurnsTest, WhoWaitsForMoreRequestsHoldsNothing) {
  const auto one = served(1, 1, "dynamic", {.max_batch_size = 8, .max_queue_delay_us = 5000});
  const auto other = served(2, 1);
  submit(*frontend_, 1, 1);
  turn();
  EXPECT_TRUE(given(*one).tickets.empty());
  EXPECT_LE(engine_->wake_ns(), now_ns_ + 5 * kMs);
  submit(*frontend_, 2, 2);
  turn();
  const Running running = given(*other);
  ASSERT_EQ(running.tickets.size(), 1u);
  now_ns_ += 6 * kMs;
  turn();  // it is due, but must wait
  EXPECT_EQ(engine_->wake_ns(), sched::kNever);
  finish(*other, running);
  turn();
  EXPECT_EQ(given(*one).tickets.size(), 1u);
}

TEST_F(TurnsTest, OneModelsInstancesTakeTurnsByPriority) {
  add(1, {needs(1, 1), needs(1, 2)}, "direct");
  const auto one = instance_of(1, 0);
  const auto two = instance_of(1, 1);
  for (uint64_t ticket = 1; ticket <= 9; ++ticket) submit(*frontend_, ticket, 1);
  std::string order;
  for (int lap = 0; lap < 9; ++lap) {
    turn();
    for (FakePeer* instance : {one.get(), two.get()}) {
      const Running running = given(*instance);
      if (running.tickets.empty()) continue;
      order += instance == one.get() ? '1' : '2';
      finish(*instance, running);
    }
  }
  EXPECT_EQ(order, "112112112");  // as the real Triton
}

TEST_F(TurnsTest, AnIdleInstanceThatNeedsLessDoesNotWaitForOneThatNeedsMore) {
  add(1, {needs(2), needs(0)}, "direct");
  const auto big = instance_of(1, 0);
  const auto small = instance_of(1, 1);
  const auto holder = served(2, 1);
  const auto other = served(3, 1);
  submit(*frontend_, 1, 2);
  turn();
  ASSERT_EQ(given(*holder).tickets.size(), 1u);
  submit(*frontend_, 2, 1);
  turn();
  EXPECT_TRUE(given(*big).tickets.empty());
  EXPECT_EQ(given(*small).tickets.size(), 1u);
  submit(*frontend_, 3, 3);
  turn();  // nothing is kept for the big one, which has nothing to execute
  EXPECT_EQ(given(*other).tickets.size(), 1u);
}

TEST_F(TurnsTest, SequencesWaitForTheirOwnInstance) {
  add(1, {needs(1), needs(1)}, "sequence_direct", {.max_batch_size = 1});
  const std::unique_ptr<FakePeer> instances[] = {instance_of(1, 0), instance_of(1, 1)};
  for (uint64_t ticket = 1; ticket <= 2; ++ticket) {
    shm::RequestBuilder builder;
    builder.header.correlation_id = ticket;
    const auto table = builder.finish();
    std::memcpy(frontend_->region.data() + ticket * 1024, table.data(), table.size());
    shm::Submit record;
    record.model = 1;
    record.ticket = ticket;
    record.flags = shm::kSequenceStart | shm::kSequenceEnd;
    record.table_offset = ticket * 1024;
    record.table_bytes = static_cast<uint32_t>(table.size());
    record.batch_size = 1;
    frontend_->send(record);
  }
  turn();
  Running running[] = {given(*instances[0]), given(*instances[1])};
  ASSERT_EQ(running[0].tickets.size() + running[1].tickets.size(), 1u);
  const size_t first = running[0].tickets.empty() ? 1 : 0;
  finish(*instances[first], running[first]);
  turn();
  EXPECT_TRUE(given(*instances[first]).tickets.empty());
  running[1 - first] = given(*instances[1 - first]);
  ASSERT_EQ(running[1 - first].tickets.size(), 1u);
  finish(*instances[1 - first], running[1 - first]);
  turn();
  EXPECT_EQ(answers(), 2u);
  turn();
  expect_nothing_left();
}

TEST_F(TurnsTest, AModelThatCannotExecuteIsRefused) {
  engine_->limit_rates({{"R", 2}});
  ModelSettings settings;
  settings.instances = {needs(4)};
  const base::Status status = engine_->add_model(1, settings);
  EXPECT_EQ(status.code(), base::Code::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "Resource count for \"R\" is limited to 2 which will prevent scheduling of one or more "
            "model instances, the minimum required count is 4");
  EXPECT_EQ(engine_->find_model(1), nullptr);
}

TEST_F(TurnsTest, AnInstanceThatTheModelDoesNotHaveIsRefused) {
  add(1, {needs(1)}, "direct");
  const auto one = join(PeerKind::kInstance);
  EXPECT_FALSE(engine_->add_instance(1, one->id, now_ns_, 1).ok());
  EXPECT_TRUE(engine_->add_instance(1, one->id, now_ns_, 0).ok());
}

TEST_F(EngineTest, WithoutTurnsResourcesMeanNothing) {
  const auto frontend = join(PeerKind::kFrontend);
  add_model(1, "direct", {}, false, {needs(1)});
  add_model(2, "direct", {}, false, {needs(1)});
  const std::unique_ptr<FakePeer> instances[] = {join(PeerKind::kInstance),
                                                 join(PeerKind::kInstance)};
  ASSERT_TRUE(engine_->add_instance(1, instances[0]->id, now_ns_).ok());
  ASSERT_TRUE(engine_->add_instance(2, instances[1]->id, now_ns_).ok());
  submit(*frontend, 1, 1);
  submit(*frontend, 2, 2);
  turn();
  EXPECT_TRUE(instances[0]->take().has_value());
  EXPECT_TRUE(instances[1]->take().has_value());
}

// Requests come, instances finish, die and are replaced, in any order: no more is ever held than there is, and all are answered.
TEST_F(TurnsTest, WhateverHappensAllAreAnswered) {
  constexpr uint32_t kModels = 5;
  constexpr uint64_t kTotal = 4;
  std::mt19937 random(20'260'101);
  const auto below = [&random](size_t end) { return random() % end; };
  struct Place {
    uint32_t model;
    size_t index;
    uint64_t needed;
    std::unique_ptr<FakePeer> peer;
    std::vector<Running> running;
  };
  std::vector<Place> places;
  for (uint32_t model = 1; model <= kModels; ++model) {
    const uint64_t needed = model - 1;
    add(model, {needs(needed, model), needs(needed)}, model % 2 == 0 ? "dynamic" : "direct",
        {.max_batch_size = 4, .max_queue_delay_us = model == 4 ? 20u : 0u});
    for (size_t index = 0; index < 2; ++index)
      places.push_back({model, index, needed, instance_of(model, index), {}});
  }
  const auto look = [&] {
    turn();
    uint64_t held = 0;
    for (Place& place : places) {
      for (Running running = given(*place.peer); !running.tickets.empty();
           running = given(*place.peer)) {
        place.running.push_back(running);
      }
      ASSERT_LE(place.running.size(), 1u);
      if (!place.running.empty()) held += place.needed;
    }
    ASSERT_LE(held, kTotal);
  };
  uint64_t sent = 0;
  uint64_t answered = 0;
  const auto finish_one = [&](Place& place) {
    if (place.running.empty()) return;
    finish(*place.peer, place.running[0]);
    place.running.clear();
  };
  for (int step = 0; step < 4000; ++step) {
    Place& place = places[below(places.size())];
    const size_t what = below(20);
    if (what < 9 && sent - answered < 40) {
      submit(*frontend_, ++sent, static_cast<uint32_t>(1 + below(kModels)));
    } else if (what < 19) {
      finish_one(place);
    } else {
      engine_->retire_peer(place.peer->id, "died", now_ns_);
      place.running.clear();
      place.peer = instance_of(place.model, place.index);
    }
    look();
    if (HasFatalFailure()) return;
    answered += answers();
  }
  for (int step = 0; step < 400 && answered < sent; ++step) {
    for (Place& place : places) finish_one(place);
    now_ns_ += 100'000;
    look();
    answered += answers();
  }
  EXPECT_EQ(answered, sent);
  turn();
  expect_nothing_left();
}

}  // namespace
}  // namespace pyserver::engine
