// The response cache in a request's life: whose answers requests get that wait for one another, whatever becomes of these.
#include <map>
#include <random>

#include "engine/harness.h"

namespace pyserver::engine {
namespace {

class CachingTest : public EngineTest {
 protected:
  CachingTest() {
    base::UniqueFd fd;
    EXPECT_TRUE(shm::make_memfd("core", kRegionBytes, &fd).ok());
    shm::Mapping own;
    EXPECT_TRUE(shm::Mapping::map(fd.get(), true, &own).ok());
    EXPECT_TRUE(shm::Mapping::map(fd.get(), false, &core_region_).ok());
    engine_ = std::make_unique<Engine>(std::move(own), kRegionBytes, 100'000);
    frontend_ = join(PeerKind::kFrontend);
    instance_ = join(PeerKind::kInstance);
  }

  void serve(const std::string& policy = "direct", bool preserve_ordering = false,
             uint64_t max_queued = 1 << 18) {
    ModelSettings settings;
    settings.name = "model";
    settings.policy = policy;
    settings.queue.max_batch_size = 1;
    settings.preserve_ordering = preserve_ordering;
    settings.cache = true;
    settings.max_queued_requests = max_queued;
    EXPECT_TRUE(engine_->add_model(1, settings).ok());
    EXPECT_TRUE(engine_->add_instance(1, instance_->id, 1).ok());
  }

  void ask(uint64_t ticket, uint64_t key, uint64_t priority = 0) {
    ask(*frontend_, ticket, key, priority);
  }
  void ask(FakePeer& from, uint64_t ticket, uint64_t key, uint64_t priority = 0) {
    shm::RequestBuilder builder;
    builder.header.cache_key[0] = key;
    const auto table = builder.finish();
    shm::Submit record;
    record.model = 1;
    record.ticket = ticket;
    record.table_offset = (ticket % 64) * 1024;
    record.table_bytes = static_cast<uint32_t>(table.size());
    record.batch_size = 1;
    record.priority = priority;
    record.payload_bytes = 10;
    std::memcpy(from.region.data() + record.table_offset, table.data(), table.size());
    from.send(record);
  }

  void cancel(uint64_t ticket) {
    shm::Cancel record;
    record.ticket = ticket;
    frontend_->send(record);
  }

  struct Running {
    uint64_t batch;
    uint64_t ticket;
  };
  // The instance's next batch; what it is told besides does not matter here.
  Running running() {
    while (const auto record = instance_->take()) {
      if (record->kind != shm::Kind::kBatch) continue;
      const uint64_t batch = shm::unpack<shm::BatchHead>(*record).batch;
      return {batch, instance_->expect<shm::Execute>(shm::Kind::kExecute).ticket};
    }
    ADD_FAILURE() << "nothing to execute";
    return {};
  }

  // The instance answers with one byte.
  void answer(const Running& one, uint8_t value, uint8_t flags = kFinalReleased) {
    shm::ResponseBuilder builder;
    if ((flags & shm::kError) != 0) {
      builder.set_message("it failed");
    } else {
      instance_->region.data()[8192] = value;
      builder.add_output("OUT", 0, base::Datatype::kUint8, std::vector<int64_t>{1},
                         {shm::Place::kRegion, instance_->id, 8192, 1});
    }
    const auto table = builder.finish();
    std::memcpy(instance_->region.data(), table.data(), table.size());
    shm::Response response;
    response.flags = flags;
    response.ticket = one.ticket;
    response.table_bytes = static_cast<uint32_t>(table.size());
    response.cookie = 5;
    instance_->send(response);
    if ((flags & shm::kFinal) != 0) done(*instance_, one.batch);
  }

  shm::Reply reply(uint64_t ticket) {
    const auto reply = frontend_->expect<shm::Reply>(shm::Kind::kReply);
    EXPECT_EQ(reply.ticket, ticket);
    return reply;
  }
  // The reply to `ticket` is this byte, out of core's region.
  void expect_cached(uint64_t ticket, uint8_t value) {
    const shm::Reply got = reply(ticket);
    EXPECT_EQ(got.flags, kFinalReleased);
    ASSERT_EQ(got.owner, shm::kCorePeer);
    shm::ResponseView view;
    ASSERT_TRUE(view.parse({core_region_.data() + got.table_offset, got.table_bytes}).ok());
    ASSERT_EQ(view.outputs().size(), 1u);
    EXPECT_EQ(view.outputs()[0].region, shm::kCorePeer);
    EXPECT_EQ(core_region_.data()[view.outputs()[0].offset], value);
    give_back(*frontend_, got.lease);
  }
  void expect_executed(uint64_t ticket) {
    const shm::Reply got = reply(ticket);
    EXPECT_EQ(got.owner, instance_->id);
    give_back(*frontend_, got.lease);
  }
  void expect_idle_instance() {
    while (const auto record = instance_->take()) EXPECT_NE(record->kind, shm::Kind::kBatch);
  }

  void expect_all_over() {
    turn();
    while (instance_->take()) {
    }
    EXPECT_FALSE(frontend_->take().has_value());
    engine_->remove_model(1);
    EXPECT_EQ(engine_->counters().waiting_for_cache, 0u);
    expect_nothing_left();
  }

  const ModelStatistics& figures() { return engine_->find_model(1)->statistics; }

  std::unique_ptr<FakePeer> frontend_;
  std::unique_ptr<FakePeer> instance_;
};

TEST_F(CachingTest, TheSecondTimeNobodyExecutes) {
  serve();
  ask(1, 77);
  turn();
  answer(running(), 42);
  turn();
  expect_executed(1);
  ask(2, 77);
  turn();
  expect_idle_instance();
  expect_cached(2, 42);
  EXPECT_EQ(figures().cache_hit.count, 1u);
  EXPECT_EQ(figures().cache_miss.count, 1u);
  EXPECT_EQ(figures().success.count, 2u);
  EXPECT_EQ(figures().queue.count, 2u);
  EXPECT_EQ(figures().inference_count, 1u);
  EXPECT_EQ(figures().compute_infer.count, 1u);
  expect_all_over();
}

TEST_F(CachingTest, WithoutAKeyEverybodyExecutes) {
  serve();
  for (uint64_t ticket = 1; ticket <= 2; ++ticket) {
    ask(ticket, 0);
    turn();
    answer(running(), 42);
    turn();
    expect_executed(ticket);
  }
  EXPECT_EQ(figures().cache_miss.count, 0u);
  expect_all_over();
}

TEST_F(CachingTest, EqualRequestsInProgressAreOneExecution) {
  serve();
  for (uint64_t ticket = 1; ticket <= 4; ++ticket) ask(ticket, 77);
  turn();
  const Running first = running();
  expect_idle_instance();
  answer(first, 42);
  turn();
  for (uint64_t ticket = 2; ticket <= 4; ++ticket) expect_cached(ticket, 42);
  expect_executed(1);
  EXPECT_EQ(figures().cache_hit.count, 3u);
  expect_all_over();
}

TEST_F(CachingTest, AnErrorIsNobodysButItsOwn) {
  serve();
  ask(1, 77);
  ask(2, 77);
  turn();
  answer(running(), 0, kFinalReleased | shm::kError);
  turn();
  const shm::Reply failed = reply(1);
  EXPECT_NE(failed.flags & shm::kError, 0);
  give_back(*frontend_, failed.lease);
  turn();
  answer(running(), 43);
  turn();
  expect_executed(2);
  ask(3, 77);
  turn();
  expect_cached(3, 43);
  expect_all_over();
}

TEST_F(CachingTest, OfSeveralResponsesNoneIsKept) {
  serve();
  ask(1, 77);
  ask(2, 77);
  turn();
  const Running first = running();
  answer(first, 42, 0);
  turn();
  give_back(*frontend_, reply(1).lease);
  answer(first, 43);
  turn();
  give_back(*frontend_, reply(1).lease);
  turn();
  answer(running(), 44);
  turn();
  expect_executed(2);
  expect_all_over();
}

TEST_F(CachingTest, WhoeverWaitsCanBeCancelled) {
  serve();
  ask(1, 77);
  ask(2, 77);
  turn();
  cancel(2);
  turn();
  const shm::Reply cancelled = reply(2);
  EXPECT_EQ(cancelled.code, static_cast<uint8_t>(base::Code::kCancelled));
  EXPECT_EQ(message_of(cancelled), "[request id: <id_unknown>] Request cancelled");
  give_back(*frontend_, cancelled.lease);
  answer(running(), 42);
  turn();
  expect_executed(1);
  expect_all_over();
}

TEST_F(CachingTest, TheFirstCanBeCancelledWithoutTheOthers) {
  serve();
  ask(1, 5);  // keeps the instance busy
  turn();
  const Running busy = running();
  ask(2, 77);
  ask(3, 77);
  turn();
  cancel(2);
  turn();
  const shm::Reply cancelled = reply(2);
  give_back(*frontend_, cancelled.lease);
  answer(busy, 41);
  turn();
  expect_executed(1);
  turn();
  answer(running(), 42);
  turn();
  expect_executed(3);
  expect_all_over();
}

TEST_F(CachingTest, TheDeathOfAnInstanceIsTheFirstOnesAlone) {
  serve();
  ask(1, 77);
  ask(2, 77);
  turn();
  running();
  engine_->retire_peer(instance_->id, "it died", now_ns_);
  instance_ = join(PeerKind::kInstance);
  ASSERT_TRUE(engine_->add_instance(1, instance_->id, now_ns_).ok());
  turn();
  const shm::Reply lost = reply(1);
  EXPECT_EQ(lost.code, static_cast<uint8_t>(base::Code::kUnavailable));
  give_back(*frontend_, lost.lease);
  answer(running(), 42);
  turn();
  expect_executed(2);
  expect_all_over();
}

TEST_F(CachingTest, AFrontendThatDiesTakesItsOwnAlong) {
  serve();
  auto other = join(PeerKind::kFrontend);
  ask(*other, 1, 77);
  turn();
  ask(2, 77);
  ask(*other, 3, 77);
  turn();
  const Running first = running();
  engine_->retire_peer(other->id, "", now_ns_);
  turn();
  answer(first, 42);
  turn();
  expect_cached(2, 42);
  expect_all_over();
}

TEST_F(CachingTest, AReaderThatDiesLetsGoOfWhatItRead) {
  serve();
  auto other = join(PeerKind::kFrontend);
  ask(1, 77);
  turn();
  answer(running(), 42);
  turn();
  expect_executed(1);
  ask(*other, 2, 77);
  turn();
  engine_->retire_peer(other->id, "", now_ns_);
  expect_all_over();
}

TEST_F(CachingTest, AnswersLeaveInOrderWhereThatIsPromised) {
  serve("dynamic", true);
  ask(1, 77);
  turn();
  answer(running(), 42);
  turn();
  expect_executed(1);
  turn();
  ask(2, 5);
  ask(3, 77);  // known already, and waits its turn
  ask(4, 5);
  turn();
  EXPECT_FALSE(frontend_->take().has_value());
  answer(running(), 50);
  turn();
  expect_executed(2);
  expect_cached(3, 42);
  expect_cached(4, 50);
  expect_all_over();
}

TEST_F(CachingTest, NobodyWaitsForTheLessUrgent) {
  serve("dynamic");
  ask(1, 5);
  turn();
  const Running busy = running();
  ask(2, 77, 2);
  turn();
  ask(3, 77, 1);  // does not wait for 2, which is still queued
  ask(4, 77, 2);
  turn();
  answer(busy, 41);
  turn();
  expect_executed(1);
  for (uint8_t value = 42; value < 44; ++value) {
    turn();
    answer(running(), value);
  }
  turn();
  std::vector<uint64_t> tickets;
  while (const auto record = frontend_->take()) {
    const auto got = shm::unpack<shm::Reply>(*record);
    if (got.lease != 0) give_back(*frontend_, got.lease);
    tickets.push_back(got.ticket);
  }
  std::sort(tickets.begin(), tickets.end());
  EXPECT_EQ(tickets, (std::vector<uint64_t>{2, 3, 4}));
  EXPECT_EQ(figures().cache_hit.count, 1u);
  expect_all_over();
}

TEST_F(CachingTest, ThoseThatWaitCountInTheQueue) {
  serve("direct", false, 3);
  ask(1, 77);
  turn();
  for (uint64_t ticket = 2; ticket <= 5; ++ticket) ask(ticket, 77);
  turn();
  const shm::Reply refused = reply(5);
  EXPECT_EQ(message_of(refused), "[request id: <id_unknown>] Exceeds maximum queue size");
  give_back(*frontend_, refused.lease);
  answer(running(), 42);
  turn();
  for (uint64_t ticket = 2; ticket <= 4; ++ticket) expect_cached(ticket, 42);
  expect_executed(1);
  expect_all_over();
}

TEST_F(CachingTest, AModelThatEndsRefusesThoseThatWait) {
  serve();
  ask(1, 77);
  ask(2, 77);
  turn();
  const Running first = running();
  engine_->abort_model(1, "it is over", now_ns_);
  engine_->flush();
  const shm::Reply refused = reply(2);
  EXPECT_EQ(message_of(refused), "it is over");
  give_back(*frontend_, refused.lease);
  answer(first, 42);
  turn();
  expect_executed(1);
  expect_all_over();
}

TEST_F(CachingTest, AModelIsNotDrainedWhileSomebodyWaits) {
  serve();
  ask(1, 77);
  ask(2, 77);
  turn();
  engine_->drain_model(1);
  EXPECT_TRUE(engine_->take_events().empty());
  answer(running(), 42);
  turn();
  EXPECT_EQ(engine_->take_events().size(), 1u);
  expect_cached(2, 42);
  expect_executed(1);
  expect_all_over();
}

TEST_F(CachingTest, AnswersGoWithTheModelThatGaveThem) {
  serve();
  ask(1, 77);
  turn();
  answer(running(), 42);
  turn();
  expect_executed(1);
  turn();
  while (instance_->take()) {
  }
  EXPECT_EQ(engine_->cache_figures().entries, 1u);
  engine_->remove_model(1);
  EXPECT_EQ(engine_->cache_figures().entries, 0u);
  expect_nothing_left();
}

// Requests of few keys come, are cancelled, fail, lose their instance or their frontend: each is answered once, with its key's answer.
TEST_F(CachingTest, WhateverHappensNobodyGetsAnothersAnswer) {
  serve("dynamic");
  std::mt19937 random(20'261'129);
  const auto below = [&random](size_t end) { return random() % end; };
  struct Asked {
    uint64_t key;
    bool cancelled;
  };
  std::map<uint64_t, Asked> waiting;
  std::map<uint64_t, uint64_t> key_of;  // by the place of the table, while it is executed
  std::vector<Running> executing;
  std::vector<uint64_t> keys;
  uint64_t tickets = 0;
  uint64_t hits = 0;
  const auto look = [&] {
    turn();
    while (const auto record = instance_->take()) {
      if (record->kind != shm::Kind::kBatch) continue;
      const auto head = shm::unpack<shm::BatchHead>(*record);
      const auto execute = instance_->expect<shm::Execute>(shm::Kind::kExecute);
      uint64_t key[2];
      shm::read_cache_key({frontend_->region.data() + execute.table_offset, execute.table_bytes},
                          key);
      executing.push_back({head.batch, execute.ticket});
      keys.push_back(key[0]);
    }
    while (const auto record = frontend_->take()) {
      if (record->kind != shm::Kind::kReply) continue;
      const auto got = shm::unpack<shm::Reply>(*record);
      ASSERT_EQ(waiting.count(got.ticket), 1u) << "answered twice, or never asked";
      const Asked asked = waiting[got.ticket];
      waiting.erase(got.ticket);
      if ((got.flags & shm::kError) == 0) {
        const bool cached = got.owner == shm::kCorePeer;
        const shm::Mapping& region = cached ? core_region_ : instance_->region;
        shm::ResponseView view;
        ASSERT_TRUE(view.parse({region.data() + got.table_offset, got.table_bytes}).ok());
        ASSERT_EQ(region.data()[view.outputs()[0].offset], asked.key);
        hits += cached;
      } else if (got.code == static_cast<uint8_t>(base::Code::kCancelled)) {
        ASSERT_TRUE(asked.cancelled);
      }
      if (got.lease != 0) give_back(*frontend_, got.lease);
    }
  };
  const auto answer_one = [&](uint8_t flags) {
    if (executing.empty()) return;
    answer(executing.front(), static_cast<uint8_t>(keys.front()), flags);
    executing.erase(executing.begin());
    keys.erase(keys.begin());
  };
  for (int step = 0; step < 20'000; ++step) {
    const size_t what = below(100);
    if (what < 50 && waiting.size() < 40) {
      const uint64_t key = 1 + below(200);
      ask(++tickets, key, below(3));
      waiting[tickets] = {key, false};
    } else if (what < 85) {
      answer_one(kFinalReleased);
    } else if (what < 92) {
      answer_one(kFinalReleased | shm::kError);
    } else if (what < 98 && !waiting.empty()) {
      auto chosen = waiting.begin();
      std::advance(chosen, below(waiting.size()));
      chosen->second.cancelled = true;
      cancel(chosen->first);
    } else if (what == 98) {
      engine_->retire_peer(instance_->id, "it died", now_ns_);
      executing.clear();
      keys.clear();
      turn();
      look();
      instance_ = join(PeerKind::kInstance);
      ASSERT_TRUE(engine_->add_instance(1, instance_->id, now_ns_).ok());
    } else if (what == 99 && below(20) == 0) {
      engine_->retire_peer(frontend_->id, "", now_ns_);
      frontend_ = join(PeerKind::kFrontend);
      waiting.clear();
    }
    look();
    if (HasFatalFailure()) return;
  }
  for (int step = 0; step < 200 && !waiting.empty(); ++step) {
    answer_one(kFinalReleased);
    look();
  }
  EXPECT_TRUE(waiting.empty());
  EXPECT_GT(hits, 1000u);
  EXPECT_LE(engine_->cache_figures().bytes, 100'000u);
  while (!executing.empty()) {
    answer_one(kFinalReleased);
    look();
  }
  expect_all_over();
}

// --- answers that are kept elsewhere, too ---

class ElsewhereTest : public CachingTest {
 protected:
  ElsewhereTest() { engine_->cache_elsewhere(); }

  Event event(Event::Kind kind) {
    const std::vector<Event> events = engine_->take_events();
    EXPECT_EQ(events.size(), 1u);
    if (events.empty()) return {};
    EXPECT_EQ(events[0].kind, kind);
    return events[0];
  }
  void tell(uint64_t key, std::optional<std::string_view> bytes) {
    engine_->cache_answer({1, key, 0}, bytes, now_ns_);
    turn();
  }
  // The bytes of an answer, and the cache as it was before.
  std::string some_answer(uint8_t value) {
    ask(60, 9000);
    turn();
    event(Event::Kind::kCacheAsk);
    tell(9000, std::nullopt);
    answer(running(), value);
    turn();
    expect_executed(60);
    turn();
    expect_idle_instance();
    std::string bytes = event(Event::Kind::kCacheKeep).message;
    engine_->cache_kept(bytes.size());
    return bytes;
  }
};

TEST_F(ElsewhereTest, WhatIsKnownThereIsNotExecuted) {
  serve();
  const std::string bytes = some_answer(42);
  ask(1, 77);
  ask(2, 77);
  turn();
  expect_idle_instance();
  EXPECT_EQ(event(Event::Kind::kCacheAsk).key, (CacheKey{1, 77, 0}));
  tell(77, bytes);
  expect_idle_instance();
  expect_cached(2, 42);
  expect_cached(1, 42);
  expect_all_over();
}

TEST_F(ElsewhereTest, WhatMakesNoSenseIsExecuted) {
  serve();
  ask(1, 77);
  turn();
  event(Event::Kind::kCacheAsk);
  tell(77, "nonsense");
  answer(running(), 42);
  turn();
  expect_executed(1);
  event(Event::Kind::kCacheKeep);
  expect_all_over();
}

TEST_F(ElsewhereTest, WhoeverAskedCanBeCancelled) {
  serve();
  ask(1, 77);
  ask(2, 77);
  turn();
  event(Event::Kind::kCacheAsk);
  cancel(1);
  turn();
  const shm::Reply cancelled = reply(1);
  EXPECT_EQ(cancelled.code, static_cast<uint8_t>(base::Code::kCancelled));
  give_back(*frontend_, cancelled.lease);
  answer(running(), 42);  // the second asks nobody any more
  tell(77, std::nullopt);
  expect_executed(2);
  EXPECT_EQ(figures().cache_miss.count, 1u);
  expect_all_over();
}

TEST_F(ElsewhereTest, AModelThatEndsRefusesThoseThatAsked) {
  serve();
  ask(1, 77);
  ask(2, 77);
  turn();
  engine_->abort_model(1, "it is over", now_ns_);
  engine_->flush();
  for (const uint64_t ticket : {2, 1}) {
    const shm::Reply refused = reply(ticket);
    EXPECT_EQ(message_of(refused), "it is over");
    give_back(*frontend_, refused.lease);
  }
  tell(77, std::nullopt);
  expect_all_over();
}

TEST_F(ElsewhereTest, AFrontendThatDiesAsksNoMore) {
  serve();
  auto other = join(PeerKind::kFrontend);
  ask(*other, 1, 77);
  turn();
  engine_->retire_peer(other->id, "", now_ns_);
  tell(77, std::nullopt);
  expect_idle_instance();
  expect_all_over();
}

}  // namespace
}  // namespace pyserver::engine
