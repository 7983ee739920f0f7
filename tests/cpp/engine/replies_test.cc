// In which order answers leave, and what becomes of those that wait for their turn.
#include "engine/harness.h"

namespace pyserver::engine {
namespace {

class OrderTest : public EngineTest {
 protected:
  // A batch of one for each instance, in flight.
  struct Running {
    uint64_t batch;
    uint64_t ticket;
  };

  OrderTest() {
    frontend_ = join(PeerKind::kFrontend);
    add_model(1, "dynamic", {.max_batch_size = 1}, true);
    for (auto& instance : instances_) {
      instance = join(PeerKind::kInstance);
      EXPECT_TRUE(engine_->add_instance(1, instance->id, 1).ok());
    }
  }

  Running running(FakePeer& instance) {
    const auto head = instance.expect<shm::BatchHead>(shm::Kind::kBatch);
    return {head.batch, instance.expect<shm::Execute>(shm::Kind::kExecute).ticket};
  }

  void expect_replies(const std::vector<uint64_t>& tickets) {
    for (const uint64_t ticket : tickets) {
      const auto reply = frontend_->expect<shm::Reply>(shm::Kind::kReply);
      EXPECT_EQ(reply.ticket, ticket);
      if (reply.lease != 0) give_back(*frontend_, reply.lease);
    }
    EXPECT_FALSE(frontend_->take().has_value());
  }

  std::unique_ptr<FakePeer> frontend_;
  std::unique_ptr<FakePeer> instances_[2];
};

TEST_F(OrderTest, AnAnswerWaitsForThoseOfEarlierRequests) {
  submit(*frontend_, 1);
  submit(*frontend_, 2);
  turn();
  const Running first = running(*instances_[0]);
  const Running second = running(*instances_[1]);
  respond(*instances_[1], second.ticket);
  done(*instances_[1], second.batch);
  submit(*frontend_, 3);
  turn();
  expect_replies({});
  // The instance is free for the next, though its answer has not gone out.
  const Running third = running(*instances_[1]);
  respond(*instances_[1], third.ticket);
  done(*instances_[1], third.batch);
  turn();
  expect_replies({});
  respond(*instances_[0], first.ticket);
  done(*instances_[0], first.batch);
  turn();
  expect_replies({1, 2, 3});
  turn();
  expect_nothing_left();
}

TEST_F(OrderTest, ResponsesOfADecoupledModelComeInOrderOfTheirRequests) {
  submit(*frontend_, 1);
  submit(*frontend_, 2);
  turn();
  const Running first = running(*instances_[0]);
  const Running second = running(*instances_[1]);
  respond(*instances_[1], second.ticket, 0);
  respond(*instances_[0], first.ticket, 0);
  turn();
  expect_replies({1});
  respond(*instances_[0], first.ticket);
  turn();
  expect_replies({1, 2});  // what the second had said before goes out as soon as it is its turn
  respond(*instances_[1], second.ticket);
  done(*instances_[0], first.batch);
  done(*instances_[1], second.batch);
  turn();
  expect_replies({2});
  turn();
  expect_nothing_left();
}

TEST_F(OrderTest, ARefusalWaitsForItsTurnToo) {
  submit(*frontend_, 1);
  submit(*frontend_, 2);
  submit(*frontend_, 3);
  turn();
  shm::Cancel cancel;
  cancel.ticket = 3;
  frontend_->send(cancel);
  turn();
  expect_replies({});
  for (auto& instance : instances_) {
    const Running one = running(*instance);
    respond(*instance, one.ticket);
    done(*instance, one.batch);
  }
  turn();
  expect_replies({1, 2, 3});
  turn();
  expect_nothing_left();
}

TEST_F(OrderTest, WhatAnInstanceHadAnsweredIsLostWithItsMemory) {
  submit(*frontend_, 1);
  submit(*frontend_, 2);
  turn();
  const Running first = running(*instances_[0]);
  const Running second = running(*instances_[1]);
  respond(*instances_[1], second.ticket);
  done(*instances_[1], second.batch);
  turn();
  engine_->retire_peer(instances_[1]->id, "it was killed", now_ns_);
  respond(*instances_[0], first.ticket);
  done(*instances_[0], first.batch);
  turn();
  EXPECT_EQ(frontend_->expect<shm::Reply>(shm::Kind::kReply).flags, kFinalReleased);
  const auto lost = frontend_->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(lost.ticket, 2u);
  EXPECT_EQ(lost.flags, kFinalReleased | shm::kError);
  EXPECT_EQ(message_of(lost), "it was killed");
}

TEST_F(OrderTest, ADeadFrontendHoldsNobodyUp) {
  const auto other = join(PeerKind::kFrontend);
  submit(*other, 9);
  turn();
  submit(*frontend_, 1);
  turn();
  const Running first = running(*instances_[0]);
  const Running second = running(*instances_[1]);
  respond(*instances_[1], second.ticket);
  done(*instances_[1], second.batch);
  turn();
  engine_->retire_peer(other->id, "", now_ns_);
  expect_replies({});
  respond(*instances_[0], first.ticket);  // nobody waits for it, but it has its turn
  done(*instances_[0], first.batch);
  turn();
  expect_replies({1});
  turn();
  expect_nothing_left();
}

TEST_F(OrderTest, AQueuedRequestOfADeadFrontendLeavesItsPlace) {
  const auto other = join(PeerKind::kFrontend);
  submit(*frontend_, 1);
  submit(*frontend_, 2);
  turn();
  submit(*other, 8);
  turn();
  submit(*frontend_, 3);
  turn();
  engine_->retire_peer(other->id, "", now_ns_);
  for (auto& instance : instances_) {
    const Running one = running(*instance);
    respond(*instance, one.ticket);
    done(*instance, one.batch);
  }
  turn();
  const Running third = running(*instances_[0]);
  respond(*instances_[0], third.ticket);
  done(*instances_[0], third.batch);
  turn();
  expect_replies({1, 2, 3});
  turn();
  expect_nothing_left();
}

TEST_F(EngineTest, AQueueIsBoundedWhateverTheModelSays) {
  const auto frontend = join(PeerKind::kFrontend);
  ModelSettings settings;
  settings.name = "model";
  settings.max_queued_requests = 2;
  ASSERT_TRUE(engine_->add_model(1, settings).ok());
  for (uint64_t ticket = 1; ticket <= 3; ++ticket) submit(*frontend, ticket);
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(reply.ticket, 3u);
  EXPECT_EQ(message_of(reply), "[request id: id-3] Exceeds maximum queue size");
  EXPECT_FALSE(frontend->take().has_value());
}

}  // namespace
}  // namespace pyserver::engine
