// Ensembles in the engine: chains, diamonds, pruning, errors, deaths, cancellation, decoupled steps; nothing stays behind.
#include "engine/ensemble_harness.h"

namespace pyserver::engine {
namespace {

TEST_F(EnsembleTest, AChainPassesPlacesOnAndGivesThemBackWhenNobodyReadsThem) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto first = member(1);
  const auto second = member(2);
  add_ensemble(kEnsemble, 3, 1, {step(1, 0, 1), step(2, 1, 2)});
  ask(*frontend, 7);
  turn();
  const Work one = take_work(*first);
  EXPECT_EQ(one.inputs.at(0).region, frontend->id);
  EXPECT_EQ(one.inputs.at(0).offset, 512u * 1024);
  EXPECT_FALSE(second->take().has_value());
  answer(*first, one, 4096, 3);
  turn();
  const Work two = take_work(*second);
  EXPECT_EQ(two.inputs.at(0).region, first->id);
  EXPECT_EQ(two.inputs.at(0).offset, 4096u);
  EXPECT_FALSE(first->take().has_value()) << "its memory is still read";
  answer(*second, two, 8192, 4);
  turn();
  EXPECT_EQ(first->expect<shm::Returned>(shm::Kind::kReturned).cookie, 3u);
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(reply.ticket, 7u);
  EXPECT_NE(reply.flags & shm::kFinal, 0);
  EXPECT_EQ(outputs_of(reply), std::vector<std::string>{at("O0", *second, 8192)});
  EXPECT_EQ(frontend->expect<shm::Released>(shm::Kind::kReleased).ticket, 7u);
  EXPECT_FALSE(second->take().has_value());
  finish(*frontend, reply.lease);
  EXPECT_EQ(second->expect<shm::Returned>(shm::Kind::kReturned).cookie, 4u);
  const ModelStatistics& figures = engine_->find_model(kEnsemble)->statistics;
  EXPECT_EQ(figures.success.count, 1u);
  EXPECT_EQ(figures.inference_count, 1u);
}

TEST_F(EnsembleTest, BothSidesOfADiamondRunAtOnce) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto left = member(1);
  const auto right = member(2);
  const auto last = member(3);
  EnsembleStep join_step = step(3, 1, 3);
  join_step.inputs.emplace_back("W", 2);
  add_ensemble(kEnsemble, 4, 1, {step(1, 0, 1), step(2, 0, 2), join_step});
  ask(*frontend, 1);
  turn();
  const Work one = take_work(*left);
  const Work two = take_work(*right);
  answer(*right, two, 64, 1);
  turn();
  EXPECT_FALSE(last->take().has_value());
  answer(*left, one, 128, 1);
  turn();
  const Work three = take_work(*last);
  EXPECT_EQ(three.inputs.size(), 2u);
  answer(*last, three, 0, 2);
  turn();
  finish(*frontend, frontend->expect<shm::Reply>(shm::Kind::kReply).lease);
}

TEST_F(EnsembleTest, AStepThatNobodyNeedsDoesNotRun) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto first = member(1);
  const auto second = member(2);
  add_ensemble(kEnsemble, 3, 2, {step(1, 0, 1), step(2, 0, 2)});
  ask(*frontend, 1, {"O1"});
  turn();
  EXPECT_FALSE(first->take().has_value());
  answer(*second, take_work(*second), 0, 2);
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(outputs_of(reply), std::vector<std::string>{at("O1", *second, 0)});
  finish(*frontend, reply.lease);
}

TEST_F(EnsembleTest, AFailingStepEndsTheRequestAndTheOthersAreCancelled) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto first = member(1);
  const auto second = member(2);
  add_ensemble(kEnsemble, 3, 2, {step(1, 0, 1), step(2, 0, 2)});
  ask(*frontend, 1);
  turn();
  const Work slow = take_work(*first);
  answer_error(*second, take_work(*second), "no");
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(message_of(reply), "in ensemble 'e100', no");
  EXPECT_EQ(reply.code, static_cast<uint8_t>(base::Code::kInternal));
  EXPECT_EQ(first->expect<shm::Cancelled>(shm::Kind::kCancelled).ticket, slow.ticket);
  EXPECT_FALSE(frontend->take().has_value()) << "its memory is still read";
  answer(*first, slow, 0, 2);
  turn();
  EXPECT_EQ(first->expect<shm::Returned>(shm::Kind::kReturned).cookie, 2u);
  EXPECT_EQ(frontend->expect<shm::Released>(shm::Kind::kReleased).ticket, 1u);
  finish(*frontend, reply.lease);
  EXPECT_EQ(engine_->find_model(kEnsemble)->statistics.fail.count, 2u) << "as in Triton";
}

TEST_F(EnsembleTest, AnInstancesDeathEndsTheRequest) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto first = member(1);
  const auto second = member(2);
  add_ensemble(kEnsemble, 3, 1, {step(1, 0, 1), step(2, 1, 2)});
  ask(*frontend, 1);
  turn();
  answer(*first, take_work(*first), 0, 2);
  turn();
  take_work(*second);
  engine_->retire_peer(second->id, "it died", now_ns_);
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(message_of(reply), "in ensemble 'e100', [request id: id] it died");
  EXPECT_EQ(reply.code, static_cast<uint8_t>(base::Code::kUnavailable));
  EXPECT_EQ(first->expect<shm::Returned>(shm::Kind::kReturned).cookie, 2u);
  finish(*frontend, reply.lease);
}

TEST_F(EnsembleTest, TheClientsDeathCancelsTheSteps) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto first = member(1);
  add_ensemble(kEnsemble, 3, 1, {step(1, 0, 1), step(1, 1, 2)});
  ask(*frontend, 1);
  ask(*frontend, 2);
  turn();
  const Work running = take_work(*first);
  engine_->retire_peer(frontend->id, "gone", now_ns_);
  turn();
  EXPECT_EQ(first->expect<shm::Cancelled>(shm::Kind::kCancelled).ticket, running.ticket);
  answer(*first, running, 0, 2);
  turn();
  EXPECT_EQ(first->expect<shm::Returned>(shm::Kind::kReturned).cookie, 2u);
  EXPECT_FALSE(first->take().has_value());
  expect_nothing_left();
  EXPECT_EQ(engine_->counters().live_runs, 0u);
}

TEST_F(EnsembleTest, ACancelReachesTheStepsOfAnEnsembleInAnEnsemble) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto first = member(1);
  add_ensemble(5, 2, 1, {step(1, 0, 1)});
  add_ensemble(kEnsemble, 2, 1, {{"e5", -1, {{"IN", 0}}, {{"O0", 1}}}});
  ask(*frontend, 1);
  turn();
  const Work running = take_work(*first);
  shm::Cancel cancel;
  cancel.ticket = 1;
  frontend->send(cancel);
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(reply.code, static_cast<uint8_t>(base::Code::kCancelled));
  EXPECT_EQ(message_of(reply), "[request id: id] Request cancelled");
  EXPECT_EQ(first->expect<shm::Cancelled>(shm::Kind::kCancelled).ticket, running.ticket);
  answer(*first, running, 0, 2);
  turn();
  finish(*frontend, reply.lease);
}

TEST_F(EnsembleTest, AnEnsembleInAnEnsembleAnswersThroughIt) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto first = member(1);
  add_ensemble(5, 2, 1, {step(1, 0, 1)});
  add_ensemble(kEnsemble, 3, 1,
               {{"e5", -1, {{"IN", 0}}, {{"O0", 1}}}, {"e5", -1, {{"IN", 1}}, {{"O0", 2}}}});
  ask(*frontend, 1);
  turn();
  answer(*first, take_work(*first), 64, 2);
  turn();
  answer(*first, take_work(*first), 128, 3);
  turn();
  EXPECT_EQ(first->expect<shm::Returned>(shm::Kind::kReturned).cookie, 2u);
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(outputs_of(reply), std::vector<std::string>{at("O0", *first, 128)});
  finish(*frontend, reply.lease);
}

TEST_F(EnsembleTest, EachAnswerOfADecoupledStepIsAnAnswerOfTheEnsemble) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto source = member(1, true);
  const auto after = member(2);
  add_ensemble(kEnsemble, 3, 1, {step(1, 0, 1), step(2, 1, 2)}, true);
  ask(*frontend, 1);
  turn();
  const Work work = take_work(*source);
  answer(*source, work, 64, 2, 0);
  answer(*source, work, 128, 3, 0);
  answer_empty(*source, work);
  turn();
  std::vector<uint64_t> leases;
  for (uint64_t number = 0; number < 2; ++number) {
    answer(*after, take_work(*after), number * 64, 5 + number);
    turn();
    EXPECT_EQ(source->expect<shm::Returned>(shm::Kind::kReturned).cookie, 2 + number);
    const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
    EXPECT_EQ(reply.flags & shm::kFinal, 0);
    EXPECT_EQ(outputs_of(reply), std::vector<std::string>{at("O0", *after, number * 64)});
    give_back(*frontend, reply.lease);
  }
  const auto last = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(last.flags & (shm::kFinal | shm::kEmpty), shm::kFinal | shm::kEmpty);
  turn();
  expect_nothing_left();
  EXPECT_EQ(engine_->counters().live_runs, 0u);
}

TEST_F(EnsembleTest, MemoryThatAResponseRefersToOutlivesItsMaker) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto first = member(1);
  const auto second = member(2);
  const auto third = member(3);
  add_ensemble(kEnsemble, 4, 1, {step(1, 0, 1), step(2, 1, 2), step(3, 2, 3)});
  ask(*frontend, 1);
  turn();
  answer(*first, take_work(*first), 64, 2);
  turn();
  const Work passed = take_work(*second);
  shm::ResponseBuilder builder;
  const int64_t shape[] = {4};
  builder.add_output("Y", 0, base::Datatype::kFp32, shape,
                     {shm::Place::kRegion, first->id, 64, 16});
  write(*second, passed, builder, 3, shm::kFinal);  // by reference, as identity does
  done(*second, passed.batch);
  turn();
  const Work last = take_work(*third);
  EXPECT_EQ(last.inputs.at(0).region, first->id);
  engine_->retire_peer(second->id, "it died", now_ns_);
  turn();
  EXPECT_FALSE(first->take().has_value()) << "the third still reads its memory";
  answer(*third, last, 0, 2);
  turn();
  EXPECT_EQ(first->expect<shm::Returned>(shm::Kind::kReturned).cookie, 2u);
  finish(*frontend, frontend->expect<shm::Reply>(shm::Kind::kReply).lease);
}

TEST_F(EnsembleTest, ADrainedEnsembleFinishesWhatIsInAndARemovedOneAnswersIt) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto first = member(1);
  add_ensemble(kEnsemble, 2, 1, {step(1, 0, 1)});
  ask(*frontend, 1);
  turn();
  engine_->drain_model(kEnsemble);
  EXPECT_TRUE(engine_->take_events().empty());
  answer(*first, take_work(*first), 0, 2);
  turn();
  EXPECT_EQ(engine_->take_events().size(), 1u);
  give_back(*frontend, frontend->expect<shm::Reply>(shm::Kind::kReply).lease);
  engine_->remove_model(kEnsemble);
  add_ensemble(kEnsemble, 2, 1, {step(1, 0, 1)});
  frontend->expect<shm::Released>(shm::Kind::kReleased);
  ask(*frontend, 2);
  turn();
  first->expect<shm::Returned>(shm::Kind::kReturned);
  const Work work = take_work(*first);
  engine_->remove_model(kEnsemble);
  turn();
  const auto reply = frontend->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(message_of(reply), "in ensemble 'e100', the model was removed");
  answer(*first, work, 0, 2);
  turn();
  finish(*frontend, reply.lease);
}

}  // namespace
}  // namespace pyserver::engine
