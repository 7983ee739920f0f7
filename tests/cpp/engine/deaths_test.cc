// What becomes of what an instance was executing when it died, and which instances take too long.
#include "engine/harness.h"

namespace pyserver::engine {
namespace {

class DeathsTest : public EngineTest {
 protected:
  void add_idempotent(const std::string& policy = "direct", bool decoupled = false) {
    ModelSettings settings;
    settings.name = "model";
    settings.policy = policy;
    settings.queue.max_batch_size = 8;
    settings.decoupled = decoupled;
    settings.idempotent = true;
    ASSERT_TRUE(engine_->add_model(1, settings).ok());
  }

  std::unique_ptr<FakePeer> add_instance() {
    auto made = join(PeerKind::kInstance);
    EXPECT_TRUE(engine_->add_instance(1, made->id, now_ns_).ok());
    return made;
  }

  void kill(const FakePeer& peer) { engine_->retire_peer(peer.id, "it died", now_ns_); }

  // Takes a batch of so many, and returns the last of their tickets.
  uint64_t take_batch(FakePeer& instance, uint32_t requests, uint64_t* batch = nullptr) {
    const auto head = instance.expect<shm::BatchHead>(shm::Kind::kBatch);
    EXPECT_EQ(head.request_count, requests);
    if (batch != nullptr) *batch = head.batch;
    uint64_t ticket = 0;
    for (uint32_t i = 0; i < requests; ++i)
      ticket = instance.expect<shm::Execute>(shm::Kind::kExecute).ticket;
    return ticket;
  }
};

TEST_F(DeathsTest, WhatMayBeDoneTwiceIsDoneAgainByAnotherInstance) {
  const auto frontend = join(PeerKind::kFrontend);
  add_idempotent("dynamic");
  const auto first = add_instance();
  for (uint64_t ticket = 1; ticket <= 3; ++ticket) submit(*frontend, ticket);
  turn();
  take_batch(*first, 3);
  const auto second = add_instance();
  kill(*first);
  turn();
  EXPECT_FALSE(frontend->take().has_value());
  uint64_t batch = 0;
  const uint64_t last = take_batch(*second, 3, &batch);
  respond(*second, last);
  turn();
  EXPECT_EQ(frontend->expect<shm::Reply>(shm::Kind::kReply).flags, kFinalReleased);
  EXPECT_EQ(engine_->counters().tried_again, 3u);
  EXPECT_EQ(engine_->find_model(1)->statistics.fail.count, 0u);
  // A second death is told of.
  kill(*second);
  turn();
  for (int i = 0; i < 2; ++i) {
    const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
    EXPECT_EQ(message_of(reply).substr(0, 16), "[request id: id-");
    give_back(*frontend, reply.lease);
  }
  turn();
  EXPECT_EQ(engine_->find_model(1)->statistics.fail.count, 2u);
  EXPECT_EQ(engine_->counters().live_requests, 0u);
}

TEST_F(DeathsTest, WithoutAnotherInstanceItWaitsForTheSuccessor) {
  const auto frontend = join(PeerKind::kFrontend);
  add_idempotent();
  const auto first = add_instance();
  submit(*frontend, 1);
  turn();
  take_batch(*first, 1);
  kill(*first);
  turn();
  EXPECT_EQ(engine_->counters().queued_requests, 1u);
  const auto second = add_instance();
  turn();
  uint64_t batch = 0;
  respond(*second, take_batch(*second, 1, &batch));
  done(*second, batch);
  turn();
  give_back(*frontend, frontend->expect<shm::Reply>(shm::Kind::kReply).lease);
  turn();
  expect_nothing_left();
}

TEST_F(DeathsTest, WhatSomebodyHasSeenAPartOfIsNotDoneAgain) {
  const auto frontend = join(PeerKind::kFrontend);
  add_idempotent("direct", true);
  const auto first = add_instance();
  const auto second = add_instance();
  submit(*frontend, 1);
  turn();
  respond(*first, take_batch(*first, 1), 0);
  turn();
  give_back(*frontend, frontend->expect<shm::Reply>(shm::Kind::kReply).lease);
  kill(*first);
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(message_of(reply), "[request id: id-1] it died");
  EXPECT_FALSE(second->take().has_value());
  give_back(*frontend, reply.lease);
  turn();
  expect_nothing_left();
}

TEST_F(DeathsTest, WhatNobodyWaitsForIsNotDoneAgain) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto leaver = join(PeerKind::kFrontend);
  add_idempotent("dynamic");
  const auto first = add_instance();
  const auto second = add_instance();
  submit(*frontend, 1);
  submit(*leaver, 2);
  turn();
  take_batch(*first, 2);
  shm::Cancel cancel;
  cancel.ticket = 1;
  frontend->send(cancel);
  turn();
  engine_->retire_peer(leaver->id, "left", now_ns_);
  kill(*first);
  turn();
  EXPECT_FALSE(second->take().has_value());
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  give_back(*frontend, reply.lease);
  turn();
  expect_nothing_left();
}

TEST_F(DeathsTest, AModelThatIsRemovedTriesNothingAgain) {
  const auto frontend = join(PeerKind::kFrontend);
  add_idempotent();
  const auto first = add_instance();
  submit(*frontend, 1);
  turn();
  take_batch(*first, 1);
  engine_->remove_model(1);
  turn();
  give_back(*frontend, frontend->expect<shm::Reply>(shm::Kind::kReply).lease);
  turn();
  expect_nothing_left();
}

TEST_F(DeathsTest, AnInstanceIsOverdueWhenOneExecutionTakesTooLong) {
  const auto frontend = join(PeerKind::kFrontend);
  ModelSettings settings;
  settings.name = "model";
  settings.execute_limit_ns = 1'000'000;
  ASSERT_TRUE(engine_->add_model(1, settings).ok());
  const auto instance = add_instance();
  EXPECT_TRUE(engine_->overdue(now_ns_ + 9'000'000).empty());  // it has nothing to do
  submit(*frontend, 1);
  submit(*frontend, 2);
  turn();
  uint64_t batch = 0;
  respond(*instance, take_batch(*instance, 1, &batch));
  EXPECT_TRUE(engine_->overdue(now_ns_ + 900'000).empty());
  EXPECT_EQ(engine_->overdue(now_ns_ + 1'100'000), std::vector<uint32_t>{instance->id});
  now_ns_ += 900'000;
  done(*instance, batch);
  turn();
  EXPECT_TRUE(engine_->overdue(now_ns_ + 900'000).empty());  // the next one has begun
  EXPECT_EQ(engine_->overdue(now_ns_ + 1'100'000), std::vector<uint32_t>{instance->id});
  kill(*instance);
  turn();
  EXPECT_TRUE(engine_->overdue(now_ns_ + 9'000'000).empty());
}

}  // namespace
}  // namespace pyserver::engine
