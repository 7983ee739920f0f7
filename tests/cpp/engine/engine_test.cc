// Life and death of requests, peers and models in the engine.
#include "engine/harness.h"

#include <random>

namespace pyserver::engine {
namespace {

TEST_F(EngineTest, ARequestTravelsToAnInstanceAndBack) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto instance = join(PeerKind::kInstance);
  add_model(1, "direct");
  ASSERT_TRUE(engine_->add_instance(1, instance->id, 1).ok());
  submit(*frontend, 77);
  turn();
  const auto head = instance->expect<shm::BatchHead>(shm::Kind::kBatch);
  EXPECT_EQ(head.request_count, 1u);
  const auto execute = instance->expect<shm::Execute>(shm::Kind::kExecute);
  EXPECT_EQ(execute.submitter, frontend->id);
  respond(*instance, execute.ticket);
  done(*instance, head.batch);
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(reply.ticket, 77u);
  EXPECT_EQ(reply.owner, instance->id);
  EXPECT_EQ(reply.flags, kFinalReleased);
  give_back(*frontend, reply.lease);
  turn();
  EXPECT_EQ(instance->expect<shm::Returned>(shm::Kind::kReturned).cookie, 5u);
  expect_nothing_left();
  const ModelStatistics& figures = engine_->find_model(1)->statistics;
  EXPECT_EQ(figures.success.count, 1u);
  EXPECT_EQ(figures.queue.count, 1u);
  EXPECT_EQ(figures.compute_infer.ns, 20u);
  EXPECT_EQ(figures.compute_output.ns, 30u);
  EXPECT_EQ(figures.execution_count, 1u);
  EXPECT_EQ(figures.inference_count, 1u);
  EXPECT_EQ(figures.batches.at(1).compute_input.ns, 10u);
}

TEST_F(EngineTest, DynamicRequestsShareABatch) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto instance = join(PeerKind::kInstance);
  add_model(1, "dynamic", {.max_batch_size = 8});
  ASSERT_TRUE(engine_->add_instance(1, instance->id, 1).ok());
  for (uint64_t ticket = 1; ticket <= 3; ++ticket) submit(*frontend, ticket);
  turn();
  const auto head = instance->expect<shm::BatchHead>(shm::Kind::kBatch);
  EXPECT_EQ(head.request_count, 3u);
  EXPECT_EQ(head.batch_size, 3u);
}

TEST_F(EngineTest, AnInstanceThatRunsGetsNothingMoreUntilItIsDone) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto instance = join(PeerKind::kInstance);
  add_model(1, "direct");
  ASSERT_TRUE(engine_->add_instance(1, instance->id, 1).ok());
  submit(*frontend, 1);
  submit(*frontend, 2);
  turn();
  const auto head = instance->expect<shm::BatchHead>(shm::Kind::kBatch);
  const auto first = instance->expect<shm::Execute>(shm::Kind::kExecute);
  EXPECT_FALSE(instance->take().has_value());
  respond(*instance, first.ticket);
  done(*instance, head.batch);
  turn();
  instance->expect<shm::BatchHead>(shm::Kind::kBatch);
}

TEST_F(EngineTest, AnUnknownModelIsRefusedWithAText) {
  const auto frontend = join(PeerKind::kFrontend);
  submit(*frontend, 4, 99);
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(reply.flags, kFinalReleased | shm::kError);
  EXPECT_EQ(reply.code, static_cast<uint8_t>(base::Code::kUnavailable));
  EXPECT_EQ(message_of(reply), "the model was unloaded while the request was on its way");
  give_back(*frontend, reply.lease);
  turn();
  expect_nothing_left();
}

TEST_F(EngineTest, AFullQueueRefusesWithTheRequestsName) {
  const auto frontend = join(PeerKind::kFrontend);
  add_model(1, "direct", {.default_queue = {.max_queue_size = 1}});
  submit(*frontend, 1);
  submit(*frontend, 2);
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(reply.ticket, 2u);
  EXPECT_EQ(message_of(reply), "[request id: id-2] Exceeds maximum queue size");
}

TEST_F(EngineTest, ADyingInstanceAnswersItsRequestsAndLosesNothing) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto instance = join(PeerKind::kInstance);
  add_model(1, "direct");
  ASSERT_TRUE(engine_->add_instance(1, instance->id, 1).ok());
  submit(*frontend, 1);
  submit(*frontend, 2);
  turn();
  engine_->retire_peer(instance->id, "instance 'a' of model 'm' was killed by signal 9", now_ns_);
  const auto other = join(PeerKind::kInstance);
  ASSERT_TRUE(engine_->add_instance(1, other->id, 1).ok());
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(reply.ticket, 1u);
  EXPECT_EQ(message_of(reply),
            "[request id: id-1] instance 'a' of model 'm' was killed by signal 9");
  give_back(*frontend, reply.lease);
  // The one that was queued goes to the new instance.
  const auto head = other->expect<shm::BatchHead>(shm::Kind::kBatch);
  respond(*other, other->expect<shm::Execute>(shm::Kind::kExecute).ticket);
  done(*other, head.batch);
  turn();
  give_back(*frontend, frontend->expect<shm::Reply>(shm::Kind::kReply).lease);
  turn();
  expect_nothing_left();
  EXPECT_EQ(engine_->find_model(1)->statistics.fail.count, 1u);
}

TEST_F(EngineTest, ADyingInstanceFreesRequestsThatItStillRead) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto instance = join(PeerKind::kInstance);
  add_model(1, "direct");
  ASSERT_TRUE(engine_->add_instance(1, instance->id, 1).ok());
  submit(*frontend, 1);
  turn();
  const auto head = instance->expect<shm::BatchHead>(shm::Kind::kBatch);
  respond(*instance, instance->expect<shm::Execute>(shm::Kind::kExecute).ticket, shm::kFinal);
  done(*instance, head.batch);
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(engine_->counters().live_requests, 1u);
  engine_->retire_peer(instance->id, "died", now_ns_);
  engine_->flush();
  EXPECT_EQ(frontend->expect<shm::Released>(shm::Kind::kReleased).ticket, 1u);
  give_back(*frontend, reply.lease);
  turn();
  expect_nothing_left();
}

TEST_F(EngineTest, ADyingFrontendTakesItsRequestsAlongAndGivesLeasesBack) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto instance = join(PeerKind::kInstance);
  add_model(1, "direct");
  ASSERT_TRUE(engine_->add_instance(1, instance->id, 1).ok());
  submit(*frontend, 1);
  turn();
  const auto head = instance->expect<shm::BatchHead>(shm::Kind::kBatch);
  const auto execute = instance->expect<shm::Execute>(shm::Kind::kExecute);
  submit(*frontend, 2);
  turn();
  engine_->retire_peer(frontend->id, "frontend died", now_ns_);
  engine_->flush();
  EXPECT_EQ(instance->expect<shm::Cancelled>(shm::Kind::kCancelled).ticket, execute.ticket);
  respond(*instance, execute.ticket, kFinalReleased, 9);
  done(*instance, head.batch);
  turn();
  EXPECT_EQ(instance->expect<shm::Returned>(shm::Kind::kReturned).cookie, 9u);
  expect_nothing_left();
}

TEST_F(EngineTest, ACancelledRequestLeavesTheQueueOrIsMarked) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto instance = join(PeerKind::kInstance);
  add_model(1, "direct");
  ASSERT_TRUE(engine_->add_instance(1, instance->id, 1).ok());
  submit(*frontend, 1);
  submit(*frontend, 2);
  turn();
  for (uint64_t ticket = 1; ticket <= 2; ++ticket) {
    shm::Cancel cancel;
    cancel.ticket = ticket;
    frontend->send(cancel);
  }
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(reply.ticket, 2u);
  EXPECT_EQ(reply.code, static_cast<uint8_t>(base::Code::kCancelled));
  instance->expect<shm::BatchHead>(shm::Kind::kBatch);
  const auto execute = instance->expect<shm::Execute>(shm::Kind::kExecute);
  EXPECT_EQ(instance->expect<shm::Cancelled>(shm::Kind::kCancelled).ticket, execute.ticket);
}

TEST_F(EngineTest, DrainingFinishesWhatIsInAndRefusesWhatComes) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto instance = join(PeerKind::kInstance);
  add_model(1, "direct");
  ASSERT_TRUE(engine_->add_instance(1, instance->id, 1).ok());
  submit(*frontend, 1);
  turn();
  engine_->drain_model(1);
  submit(*frontend, 2);
  turn();
  EXPECT_EQ(message_of(frontend->expect<shm::Reply>(shm::Kind::kReply)),
            "Request for unknown model: 'model' version 1 is not at ready state");
  EXPECT_TRUE(engine_->take_events().empty());
  const auto head = instance->expect<shm::BatchHead>(shm::Kind::kBatch);
  respond(*instance, instance->expect<shm::Execute>(shm::Kind::kExecute).ticket);
  done(*instance, head.batch);
  turn();
  const auto events = engine_->take_events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, Event::Kind::kDrained);
  engine_->remove_instance(instance->id, 1);
  ASSERT_EQ(engine_->take_events().size(), 1u);
  engine_->remove_model(1);
  engine_->retire_peer(instance->id, "stopped", now_ns_);
}

TEST_F(EngineTest, NonsenseFromAPeerIsReportedAndHarmsNobody) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto instance = join(PeerKind::kInstance);
  add_model(1, "direct");
  ASSERT_TRUE(engine_->add_instance(1, instance->id, 1).ok());
  shm::Submit outside;
  outside.model = 1;
  outside.table_offset = kRegionBytes - 8;
  outside.table_bytes = 64;
  frontend->send(outside);
  respond(*instance, 12345);
  give_back(*frontend, 999);
  turn();
  const auto events = engine_->take_events();
  EXPECT_EQ(events.size(), 2u);
  EXPECT_EQ(engine_->counters().violations, 3u);
}

// `GetParam`: whether what died with an instance is executed once more.
class RandomWorld : public EngineTest, public testing::WithParamInterface<bool> {};

// Random peers that submit, answer, die and come back: nothing may be lost, nothing answered twice.
TEST_P(RandomWorld, SurvivesAnyOrderOfEvents) {
  std::mt19937_64 random(99);
  const auto below = [&random](uint64_t limit) { return random() % limit; };
  ModelSettings settings;
  settings.name = "model";
  settings.policy = "dynamic";
  settings.queue.max_batch_size = 4;
  settings.idempotent = GetParam();
  ASSERT_TRUE(engine_->add_model(1, settings).ok());
  auto frontend = join(PeerKind::kFrontend);
  auto instance = join(PeerKind::kInstance);
  ASSERT_TRUE(engine_->add_instance(1, instance->id, 1).ok());
  uint64_t ticket = 0;
  std::vector<uint64_t> waiting;
  std::vector<uint64_t> executing;
  std::vector<uint64_t> batches;
  for (int step = 0; step < 20'000; ++step) {
    const uint64_t choice = below(100);
    if (choice < 40 && waiting.size() < 50) {
      submit(*frontend, ++ticket);
      waiting.push_back(ticket);
    } else if (choice < 80) {
      while (const auto record = instance->take()) {
        if (record->kind == shm::Kind::kBatch)
          batches.push_back(shm::unpack<shm::BatchHead>(*record).batch);
        if (record->kind == shm::Kind::kExecute)
          executing.push_back(shm::unpack<shm::Execute>(*record).ticket);
      }
      for (const uint64_t request : executing) respond(*instance, request);
      for (const uint64_t batch : batches) done(*instance, batch);
      executing.clear();
      batches.clear();
    } else if (choice < 85 && !waiting.empty()) {
      shm::Cancel cancel;
      cancel.ticket = waiting[below(waiting.size())];
      frontend->send(cancel);
    } else if (choice == 99) {
      engine_->retire_peer(instance->id, "died", now_ns_);
      instance = join(PeerKind::kInstance);
      executing.clear();
      batches.clear();
      ASSERT_TRUE(engine_->add_instance(1, instance->id, 1).ok());
    } else if (choice == 98) {
      engine_->retire_peer(frontend->id, "died", now_ns_);
      frontend = join(PeerKind::kFrontend);
      waiting.clear();
    }
    turn();
    while (const auto record = frontend->take()) {
      if (record->kind != shm::Kind::kReply) continue;
      const auto reply = shm::unpack<shm::Reply>(*record);
      ASSERT_EQ(std::erase(waiting, reply.ticket), 1u) << "answered twice, or never asked";
      give_back(*frontend, reply.lease);
    }
  }
  engine_->retire_peer(instance->id, "died", now_ns_);
  engine_->abort_model(1, "over", now_ns_);
  engine_->flush();
  while (const auto record = frontend->take()) {
    if (record->kind != shm::Kind::kReply) continue;
    const auto reply = shm::unpack<shm::Reply>(*record);
    ASSERT_EQ(std::erase(waiting, reply.ticket), 1u);
    give_back(*frontend, reply.lease);
  }
  EXPECT_TRUE(waiting.empty());
  turn();
  expect_nothing_left();
}

INSTANTIATE_TEST_SUITE_P(Engine, RandomWorld, testing::Bool());

}  // namespace
}  // namespace pyserver::engine
