// The end of the server: nothing new is taken, what is in and sequences that live go on.
#include "engine/ensemble_harness.h"

namespace pyserver::engine {
namespace {

const char* const kStopping =
    "Server is stopping, scheduler for model has stopped accepting new inference requests";

class StopTest : public EnsembleTest {
 protected:
  void submit_step(FakePeer& from, uint64_t ticket, uint64_t sequence, uint8_t flags) {
    shm::RequestBuilder builder;
    builder.header.correlation_id = sequence;
    const auto table = builder.finish();
    std::memcpy(from.region.data() + ticket * 1024, table.data(), table.size());
    shm::Submit record;
    record.model = 1;
    record.ticket = ticket;
    record.flags = flags;
    record.table_offset = ticket * 1024;
    record.table_bytes = static_cast<uint32_t>(table.size());
    record.batch_size = 1;
    from.send(record);
  }

  void run_step(FakePeer& instance, FakePeer& frontend, uint64_t ticket) {
    const auto head = instance.expect<shm::BatchHead>(shm::Kind::kBatch);
    const auto execute = instance.expect<shm::Execute>(shm::Kind::kExecute);
    respond(instance, execute.ticket);
    done(instance, head.batch);
    turn();
    const auto reply = frontend.expect<shm::Reply>(shm::Kind::kReply);
    EXPECT_EQ(reply.ticket, ticket);
    EXPECT_EQ(reply.flags & shm::kError, 0);
    give_back(frontend, reply.lease);
    turn();
    instance.expect<shm::Returned>(shm::Kind::kReturned);
  }

  void expect_refusal(FakePeer& frontend, uint64_t ticket) {
    const auto reply = frontend.expect<shm::Reply>(shm::Kind::kReply);
    EXPECT_EQ(reply.ticket, ticket);
    EXPECT_EQ(reply.code, static_cast<uint8_t>(base::Code::kUnavailable));
    EXPECT_EQ(message_of(reply), kStopping);
    give_back(frontend, reply.lease);
    turn();
  }

  std::vector<Event::Kind> told() {
    std::vector<Event::Kind> kinds;
    for (const Event& event : engine_->take_events()) kinds.push_back(event.kind);
    return kinds;
  }

  const std::vector<Event::Kind> quiet_{Event::Kind::kQuiet};
};

TEST_F(StopTest, ALiveSequenceGoesOnAndNoneBegins) {
  for (const char* policy : {"sequence_direct", "sequence_oldest"}) {
    add_model(1, policy, {.max_batch_size = 2});
    const auto frontend = join(PeerKind::kFrontend);
    const auto instance = join(PeerKind::kInstance);
    ASSERT_TRUE(engine_->add_instance(1, instance->id, 1).ok());
    submit_step(*frontend, 1, 7, shm::kSequenceStart);
    turn();
    run_step(*instance, *frontend, 1);
    engine_->stop_models();
    EXPECT_TRUE(told().empty());
    submit_step(*frontend, 2, 8, shm::kSequenceStart);
    turn();
    expect_refusal(*frontend, 2);
    submit_step(*frontend, 3, 7, 0);
    turn();
    run_step(*instance, *frontend, 3);
    EXPECT_TRUE(told().empty());
    submit_step(*frontend, 4, 7, shm::kSequenceEnd);
    turn();
    EXPECT_EQ(told(), quiet_);
    run_step(*instance, *frontend, 4);
    engine_->drain_model(1);
    EXPECT_EQ(told(), std::vector<Event::Kind>{Event::Kind::kDrained});
    expect_nothing_left();
    EXPECT_EQ(engine_->find_model(1)->statistics.fail.count, 0u) << "as in Triton";
    engine_->remove_model(1);
    start_again();
  }
}

TEST_F(StopTest, ASequenceThatNobodyGoesOnWithIsNotWaitedForForEver) {
  add_model(1, "sequence_direct", {.max_batch_size = 2, .max_sequence_idle_us = 1000});
  const auto frontend = join(PeerKind::kFrontend);
  const auto instance = join(PeerKind::kInstance);
  ASSERT_TRUE(engine_->add_instance(1, instance->id, 1).ok());
  submit_step(*frontend, 1, 7, shm::kSequenceStart);
  turn();
  run_step(*instance, *frontend, 1);
  engine_->stop_models();
  turn();
  EXPECT_TRUE(told().empty());
  ASSERT_LE(engine_->wake_ns(), now_ns_ + 1'000'000);
  now_ns_ = engine_->wake_ns();
  turn();
  EXPECT_EQ(told(), quiet_);
}

TEST_F(StopTest, WithoutSequencesItIsQuietAtOnceAndWhatIsQueuedRuns) {
  for (const char* policy : {"direct", "dynamic"}) {
    add_model(1, policy, {.max_batch_size = 1});
    const auto frontend = join(PeerKind::kFrontend);
    const auto instance = join(PeerKind::kInstance);
    submit(*frontend, 1);
    turn();
    engine_->stop_models();
    EXPECT_EQ(told(), quiet_);
    submit(*frontend, 2);
    turn();
    expect_refusal(*frontend, 2);
    ASSERT_TRUE(engine_->add_instance(1, instance->id, 1).ok());
    turn();
    run_step(*instance, *frontend, 1);
    expect_nothing_left();
    engine_->remove_model(1);
    start_again();
  }
}

TEST_F(StopTest, AnEnsembleThatRunsGetsItsStepsAndNoneBegins) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto first = member(1);
  const auto second = member(2);
  add_ensemble(kEnsemble, 3, 1, {step(1, 0, 1), step(2, 1, 2)});
  ask(*frontend, 1);
  turn();
  engine_->stop_models();
  ask(*frontend, 2);
  turn();
  expect_refusal(*frontend, 2);
  answer(*first, take_work(*first), 64, 2);
  turn();
  answer(*second, take_work(*second), 64, 2);
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(outputs_of(reply), std::vector<std::string>{at("O0", *second, 64)});
  finish(*frontend, reply.lease);
}

}  // namespace
}  // namespace pyserver::engine
