// The response cache: what is kept and found, for how long, and whose answers requests get that wait for one another.
#include "engine/response_cache.h"

#include "engine/harness.h"
#include "shm/cache_key.h"

namespace pyserver::engine {
namespace {

// --- the key ---

struct Asked {
  std::string name = "X";
  base::Datatype datatype = base::Datatype::kInt32;
  std::vector<int64_t> shape = {1, 2};
  std::vector<uint8_t> bytes = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<std::string> outputs;
  std::vector<shm::Parameter> parameters;
  uint64_t correlation_id = 0;
  std::string request_id;
  uint64_t seed = 7;
};

std::pair<uint64_t, uint64_t> key_of(const Asked& asked) {
  shm::RequestBuilder table;
  table.header.correlation_id = asked.correlation_id;
  table.set_request_id(asked.request_id);
  table.add_input(asked.name, 0, asked.datatype, asked.shape,
                  {shm::Place::kRegion, 1, 0, asked.bytes.size()});
  for (const std::string& output : asked.outputs) table.add_output(output, 0);
  for (const shm::Parameter& parameter : asked.parameters) table.add_parameter(parameter);
  shm::set_cache_key(
      asked.seed, [&](const shm::TensorEntry&) { return std::span<const uint8_t>(asked.bytes); },
      &table);
  return {table.header.cache_key[0], table.header.cache_key[1]};
}

TEST(CacheKey, EqualBytesInAnotherShapeOrDatatypeAreAnotherRequest) {
  const Asked plain;
  std::vector<Asked> others(12);
  others[0].shape = {2, 1};
  others[1].shape = {2};
  others[2].datatype = base::Datatype::kFp32;
  others[3].name = "Y";
  others[4].bytes[7] = 9;
  others[5].outputs = {"OUT"};
  others[6].outputs = {"OUT", "OTHER"};
  others[7].parameters = {{"word", std::string("yes")}};
  others[8].parameters = {{"word", true}};
  others[9].parameters = {{"word", int64_t{1}}};
  others[10].correlation_id = 5;
  others[11].seed = 8;
  std::vector<std::pair<uint64_t, uint64_t>> keys = {key_of(plain)};
  for (const Asked& other : others) keys.push_back(key_of(other));
  std::sort(keys.begin(), keys.end());
  EXPECT_EQ(std::adjacent_find(keys.begin(), keys.end()), keys.end());
}

TEST(CacheKey, WhatAClientSaysForItselfDoesNotCount) {
  Asked named;
  named.request_id = "seven";
  EXPECT_EQ(key_of(named), key_of(Asked()));
}

TEST(CacheKey, InputsCountInTheConfigsOrder) {
  const auto key = [](const std::vector<uint16_t>& order) {
    shm::RequestBuilder table;
    for (const uint16_t index : order) {
      table.add_input("I" + std::to_string(index), index, base::Datatype::kUint8,
                      std::vector<int64_t>{1}, {shm::Place::kRegion, 1, index, 1});
    }
    const uint8_t bytes[] = {10, 20, 30};
    shm::set_cache_key(
        1, [&](const shm::TensorEntry& input) { return std::span(bytes).subspan(input.offset, 1); },
        &table);
    return std::pair(table.header.cache_key[0], table.header.cache_key[1]);
  };
  EXPECT_EQ(key({0, 1, 2}), key({2, 0, 1}));
  EXPECT_NE(key({0, 1, 2}), key({0, 1}));
}

// --- the store ---

class StoreTest : public testing::Test {
 protected:
  static constexpr uint64_t kBudget = 64 * 1024;

  StoreTest() {
    base::UniqueFd fd;
    EXPECT_TRUE(shm::make_memfd("core", kRegionBytes, &fd).ok());
    EXPECT_TRUE(shm::Mapping::map(fd.get(), true, &region_).ok());
    memory_.emplace(&region_, kRegionBytes, 0);
    cache_.emplace(&region_, &*memory_, kBudget);
  }

  CachedResponse* put(uint64_t key, size_t bytes, uint8_t fill, uint32_t model = 1) {
    const std::vector<uint8_t> data(bytes, fill);
    shm::ResponseBuilder table;
    table.add_output("OUT", 0, base::Datatype::kUint8,
                     std::vector<int64_t>{1, static_cast<int64_t>(bytes)},
                     {shm::Place::kRegion, 9, 0, bytes});
    table.add_parameter({"who", std::string("me")});
    shm::ResponseView view;
    EXPECT_TRUE(view.parse(table.finish()).ok());
    return cache_->insert({model, key, 0}, view,
                          [&](const shm::TensorEntry&) { return std::span<const uint8_t>(data); });
  }

  // The first byte of the entry's tensor, and how many there are.
  std::pair<int, uint64_t> content(const CachedResponse& entry) {
    shm::ResponseView view;
    EXPECT_TRUE(view.parse(cache_->table(entry)).ok());
    EXPECT_EQ(view.parameters().size(), 1u);
    const shm::TensorEntry& output = view.outputs()[0];
    EXPECT_EQ(output.region, shm::kCorePeer);
    return {region_.data()[output.offset], output.byte_size};
  }

  shm::Mapping region_;
  std::optional<shm::Allocator> memory_;
  std::optional<ResponseCache> cache_;
};

TEST_F(StoreTest, FindsWhatWasPut) {
  put(1, 100, 5);
  EXPECT_EQ(cache_->find({1, 2, 0}), nullptr);
  EXPECT_EQ(cache_->find({2, 1, 0}), nullptr) << "of another model";
  CachedResponse* const found = cache_->find({1, 1, 0});
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(content(*found), (std::pair<int, uint64_t>{5, 100}));
}

TEST_F(StoreTest, TheFirstAnswerStays) {
  put(1, 100, 5);
  put(1, 100, 6);
  EXPECT_EQ(content(*cache_->find({1, 1, 0})).first, 5);
  EXPECT_EQ(cache_->figures().entries, 1u);
}

TEST_F(StoreTest, TheLeastRecentlyUsedGoesFirst) {
  for (uint64_t key = 0; key < 5; ++key) ASSERT_NE(put(key, 10'000, 1), nullptr);
  cache_->find({1, 0, 0});
  put(5, 10'000, 1);
  put(6, 10'000, 1);
  EXPECT_NE(cache_->find({1, 0, 0}), nullptr) << "it was used";
  EXPECT_EQ(cache_->find({1, 1, 0}), nullptr);
  EXPECT_NE(cache_->find({1, 6, 0}), nullptr);
  EXPECT_GE(cache_->figures().evictions, 1u);
  EXPECT_LE(cache_->figures().bytes, kBudget);
}

TEST_F(StoreTest, NeverMoreThanItsBudget) {
  EXPECT_EQ(put(1, kBudget + 1, 1), nullptr);
  for (uint64_t key = 0; key < 1000; ++key) {
    put(key, 1 + (key * 7919) % 20'000, 1);
    ASSERT_LE(cache_->figures().bytes, kBudget);
    ASSERT_LE(memory_->used_bytes(), kBudget);
  }
  cache_->forget_model(1);
  EXPECT_EQ(cache_->figures().entries, 0u);
  EXPECT_EQ(memory_->used_bytes(), 0u);
}

TEST_F(StoreTest, WhatIsReadIsNotPushedOut) {
  CachedResponse* const read = put(1, 30'000, 5);
  cache_->pin(read);
  for (uint64_t key = 2; key < 20; ++key) put(key, 20'000, 1);
  EXPECT_EQ(content(*read).first, 5);
  EXPECT_NE(cache_->find({1, 1, 0}), nullptr);
  cache_->unpin(read);
}

TEST_F(StoreTest, WhatIsForgottenLivesUntilItsLastReaderIsDone) {
  CachedResponse* const read = put(1, 1000, 5);
  cache_->pin(read);
  cache_->pin(read);
  cache_->forget_model(1);
  EXPECT_EQ(cache_->find({1, 1, 0}), nullptr);
  EXPECT_EQ(content(*read).first, 5);
  cache_->unpin(read);
  EXPECT_GT(memory_->used_bytes(), 0u);
  cache_->unpin(read);
  EXPECT_EQ(memory_->used_bytes(), 0u);
}

TEST_F(StoreTest, AModelTakesItsOwnAnswersOnly) {
  put(1, 10, 5, 1);
  put(1, 10, 6, 2);
  cache_->forget_model(1);
  EXPECT_EQ(cache_->find({1, 1, 0}), nullptr);
  EXPECT_EQ(content(*cache_->find({2, 1, 0})).first, 6);
}

TEST_F(StoreTest, AsBytesAndBack) {
  const std::string bytes = cache_->to_bytes(*put(1, 1000, 5));
  cache_->forget_model(1);
  CachedResponse* const entry = cache_->insert_bytes({1, 1, 0}, bytes);
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(content(*entry), (std::pair<int, uint64_t>{5, 1000}));
}

TEST_F(StoreTest, BytesThatMakeNoSenseAreNoEntry) {
  const std::string good = cache_->to_bytes(*put(1, 1000, 5));
  cache_->forget_model(1);
  for (size_t length = 0; length < good.size(); ++length)
    EXPECT_EQ(cache_->insert_bytes({1, 1, 0}, std::string_view(good).substr(0, length)), nullptr);
  std::string changed = good;
  for (size_t at = 0; at < good.size() - 1000; ++at) {
    changed = good;
    changed[at] = static_cast<char>(changed[at] ^ 0xff);
    cache_->insert_bytes({1, at + 10, 0},
                         changed);  // whatever comes of it, nothing is read outside
  }
}

// --- in a request's life ---

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
