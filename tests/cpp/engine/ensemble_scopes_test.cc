// What a step leaves out, what it says of sequences, and how many of a decoupled step's answers may be under way.
#include "engine/ensemble_harness.h"

namespace pyserver::engine {
namespace {

TEST_F(EnsembleTest, AStepThatDoesNotAnswerIsADeadlock) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto first = member(1);
  const auto second = member(2);
  add_ensemble(kEnsemble, 3, 1, {step(1, 0, 1), step(2, 1, 2)});
  ask(*frontend, 1);
  turn();
  answer_empty(*first, take_work(*first));
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(message_of(reply),
            "in ensemble 'e100', unexpected deadlock, at least one output is not set while no more "
            "ensemble steps can be made");
  finish(*frontend, reply.lease);
}

TEST_F(EnsembleTest, AStepWithoutItsOutputLeavesTheNextWithoutAnInput) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto first = member(1);
  const auto second = member(2);
  add_ensemble(kEnsemble, 3, 1, {step(1, 0, 1), step(2, 1, 2)});
  ask(*frontend, 1);
  turn();
  answer_nothing(*first, take_work(*first), 2);
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(
      message_of(reply),
      "in ensemble 'e100', [request id: id] expected number of inputs between 1 and 2 but got "
      "0 inputs for model 'm2'. Got input(s) [], but missing required input(s) ['X']. Please "
      "provide all required input(s).");
  EXPECT_EQ(reply.code, static_cast<uint8_t>(base::Code::kInvalidArgument));
  EXPECT_FALSE(second->take().has_value());
  finish(*frontend, reply.lease);
}

TEST_F(EnsembleTest, AnOptionalInputMayBeLeftOut) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto left = member(1);
  const auto right = member(2);
  const auto last = member(3);
  EnsembleStep join_step = step(3, 1, 3);
  join_step.inputs.emplace_back("W", 2);
  add_ensemble(kEnsemble, 4, 1, {step(1, 0, 1), step(2, 0, 2), join_step});
  ask(*frontend, 1);
  turn();
  answer(*left, take_work(*left), 64, 2);
  answer_nothing(*right, take_work(*right), 2);
  turn();
  const Work work = take_work(*last);
  EXPECT_EQ(work.inputs.size(), 1u);
  answer(*last, work, 0, 2);
  turn();
  finish(*frontend, frontend->expect<shm::Reply>(shm::Kind::kReply).lease);
}

TEST_F(EnsembleTest, WithoutAnOutputTheAnswerIsEmpty) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto first = member(1);
  add_ensemble(kEnsemble, 2, 1, {step(1, 0, 1)});
  ask(*frontend, 1);
  turn();
  answer_nothing(*first, take_work(*first), 2);
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(reply.flags & (shm::kError | shm::kEmpty | shm::kFinal), shm::kFinal);
  EXPECT_TRUE(outputs_of(reply).empty());
  EXPECT_EQ(sequence_of(reply), "");
  finish(*frontend, reply.lease);
  EXPECT_EQ(engine_->find_model(kEnsemble)->statistics.success.count, 1u);
}

TEST_F(EnsembleTest, AnAnswerWithoutItsOutputIsNoneOfTheEnsembles) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto source = member(1, true);
  const auto after = member(2);
  add_ensemble(kEnsemble, 3, 1, {step(1, 0, 1), step(2, 1, 2)}, true);
  ask(*frontend, 1);
  turn();
  const Work work = take_work(*source);
  answer_nothing(*source, work, 2, 0);
  answer(*source, work, 64, 3, 0);
  turn();
  EXPECT_EQ(source->expect<shm::Returned>(shm::Kind::kReturned).cookie, 2u) << "at once";
  answer_nothing(*after, take_work(*after), 2);
  answer_empty(*source, work);
  turn();
  const auto last = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(last.flags & (shm::kFinal | shm::kEmpty), shm::kFinal | shm::kEmpty);
  turn();
  expect_nothing_left();
}

TEST_F(EnsembleTest, WhatAStepSaysOfTheSequenceReachesTheAnswer) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto first = member(1);
  const auto second = member(2);
  add_ensemble(kEnsemble, 3, 1, {step(1, 0, 1), step(2, 1, 2)});
  ask(*frontend, 1);
  turn();
  const Work one = take_work(*first);
  shm::ResponseBuilder builder;
  const int64_t shape[] = {4};
  builder.add_output("Y", 0, base::Datatype::kFp32, shape,
                     {shm::Place::kRegion, first->id, 64, 16});
  builder.add_parameter({"sequence_id", int64_t{77}});
  builder.add_parameter({"sequence_start", true});
  write(*first, one, builder, 3, kFinalReleased);
  done(*first, one.batch);
  turn();
  answer(*second, take_work(*second), 0, 2);
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(sequence_of(reply), "77 yes no");
  finish(*frontend, reply.lease);
}

TEST_F(EnsembleTest, NoMoreRequestsOfAStepThanAllowedAreUnderWay) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto first = member(1);
  add_ensemble(kEnsemble, 2, 1, {step(1, 0, 1)}, false, 1);
  ask(*frontend, 1);
  ask(*frontend, 2);
  ask(*frontend, 3);
  turn();
  EXPECT_EQ(engine_->counters().queued_requests, 0u);
  Work work = take_work(*first);
  for (uint64_t ticket = 1; ticket <= 3; ++ticket) {
    answer(*first, work, 0, 2);
    turn();
    const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
    EXPECT_EQ(reply.ticket, ticket);
    frontend->expect<shm::Released>(shm::Kind::kReleased);
    if (ticket < 3) work = take_work(*first);
    give_back(*frontend, reply.lease);
    turn();
    first->expect<shm::Returned>(shm::Kind::kReturned);
  }
  expect_nothing_left();
}

TEST_F(EnsembleTest, WhatWaitsOfACancelledRequestWaitsNoMore) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto first = member(1);
  add_ensemble(kEnsemble, 2, 1, {step(1, 0, 1)}, false, 1);
  for (uint64_t ticket = 1; ticket <= 3; ++ticket) ask(*frontend, ticket);
  turn();
  shm::Cancel cancel;
  cancel.ticket = 2;
  frontend->send(cancel);
  turn();
  std::vector<uint64_t> leases;
  leases.push_back(frontend->expect<shm::Reply>(shm::Kind::kReply).lease);
  EXPECT_EQ(frontend->expect<shm::Released>(shm::Kind::kReleased).ticket, 2u);
  for (const uint64_t ticket : {1u, 3u}) {
    answer(*first, take_work(*first), 0, 2);
    turn();
    const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
    EXPECT_EQ(reply.ticket, ticket);
    frontend->expect<shm::Released>(shm::Kind::kReleased);
    leases.push_back(reply.lease);
  }
  for (const uint64_t lease : leases) give_back(*frontend, lease);
  turn();
  expect_nothing_left();
}

TEST_F(EnsembleTest, NoMoreWaitThanMayBeQueued) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto first = member(1);
  add_ensemble(kEnsemble, 2, 1, {step(1, 0, 1)}, false, 1, 1);
  for (uint64_t ticket = 1; ticket <= 3; ++ticket) ask(*frontend, ticket);
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(reply.ticket, 3u);
  EXPECT_EQ(message_of(reply), "in ensemble 'e100', [request id: id] Exceeds maximum queue size");
  EXPECT_EQ(engine_->counters().live_runs, 2u);
}

// The source answers as an instance does: as long as fewer than it was told are unread.
TEST_F(EnsembleTest, ADecoupledStepIsHeldUpByASlowOneBehindIt) {
  constexpr uint64_t kAnswers = 10'000;
  constexpr uint64_t kMost = 4;
  const auto frontend = join(PeerKind::kFrontend);
  const auto source = member(1, true);
  const auto after = member(2);
  add_ensemble(kEnsemble, 3, 1, {step(1, 0, 1), step(2, 1, 2)}, true, kMost);
  ask(*frontend, 1);
  turn();
  const auto head = source->expect<shm::BatchHead>(shm::Kind::kBatch);
  const auto execute = source->expect<shm::Execute>(shm::Kind::kExecute);
  EXPECT_EQ(execute.max_unread, kMost);
  const Work work{head.batch, execute.ticket, {}};
  std::deque<Work> todo;
  const auto look = [&todo](FakePeer& peer) {
    uint64_t returned = 0;
    uint64_t batch = 0;
    while (const auto record = peer.take()) {
      if (record->kind == shm::Kind::kBatch) batch = shm::unpack<shm::BatchHead>(*record).batch;
      if (record->kind == shm::Kind::kExecute)
        todo.push_back({batch, shm::unpack<shm::Execute>(*record).ticket, {}});
      returned += record->kind == shm::Kind::kReturned ? 1 : 0;
    }
    return returned;
  };
  uint64_t sent = 0;
  uint64_t returned = 0;
  uint64_t most_requests = 0;
  uint64_t most_bytes = 0;
  for (uint64_t told = 0; told < kAnswers; ++told) {
    for (; sent < kAnswers && sent - returned < execute.max_unread; ++sent)
      answer(*source, work, 64, 2 + sent % kMost, 0);
    turn();
    look(*after);
    ASSERT_FALSE(todo.empty());
    answer(*after, todo.front(), 64, 2 + told % kMost);
    todo.pop_front();
    turn();
    returned += look(*source);
    EXPECT_EQ(sent - returned, std::min(kMost, kAnswers - told) - 1);
    give_back(*frontend, frontend->expect<shm::Reply>(shm::Kind::kReply).lease);
    most_requests = std::max(most_requests, engine_->counters().live_requests);
    most_bytes = std::max(most_bytes, engine_->counters().own_bytes);
  }
  answer_empty(*source, work);
  turn();
  EXPECT_NE(frontend->expect<shm::Reply>(shm::Kind::kReply).flags & shm::kFinal, 0);
  expect_nothing_left();
  EXPECT_LE(most_requests, 2 + kMost);
  EXPECT_LE(most_bytes, uint64_t{64} << 10);
}

}  // namespace
}  // namespace pyserver::engine
