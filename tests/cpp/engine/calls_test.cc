// Instances as submitters: calls, their circles, and the deaths of those who make and answer them.
#include "harness.h"

namespace pyserver::engine {
namespace {

// Models 1 and 2, with one instance each, and a frontend.
class CallsTest : public EngineTest {
 protected:
  void SetUp() override {
    frontend_ = join(PeerKind::kFrontend);
    for (const uint32_t model : {1u, 2u}) {
      ModelSettings settings;
      settings.name = model == 1 ? "one" : "two";
      ASSERT_TRUE(engine_->add_model(model, settings).ok());
    }
    one_ = instance_of(1);
    two_ = instance_of(2);
  }

  std::unique_ptr<FakePeer> instance_of(uint32_t model) {
    auto made = join(PeerKind::kInstance);
    EXPECT_TRUE(engine_->add_instance(model, made->id, now_ns_).ok());
    return made;
  }

  // A call from within the batch `parent`, of the same region layout as submit().
  void call(FakePeer& from, uint64_t ticket, uint32_t model, uint64_t parent) {
    shm::RequestBuilder builder;
    builder.set_request_id("call-" + std::to_string(ticket));
    builder.header.parent = parent;
    const auto table = builder.finish();
    const uint64_t offset = (ticket % 64) * 1024;
    std::memcpy(from.region.data() + offset, table.data(), table.size());
    shm::Submit record;
    record.model = model;
    record.ticket = ticket;
    record.table_offset = offset;
    record.table_bytes = static_cast<uint32_t>(table.size());
    record.batch_size = 1;
    from.send(record);
    turn();
  }

  struct Given {
    uint64_t batch = 0;
    uint64_t ticket = 0;
    uint32_t submitter = 0;
  };
  Given execute(FakePeer& instance) {
    turn();
    const auto head = instance.expect<shm::BatchHead>(shm::Kind::kBatch);
    const auto record = instance.expect<shm::Execute>(shm::Kind::kExecute);
    return {head.batch, record.ticket, record.submitter};
  }

  void answer(FakePeer& instance, const Given& given, uint8_t flags = kFinalReleased) {
    respond(instance, given.ticket, flags);
    done(instance, given.batch);
    turn();
  }

  void expect_circle(FakePeer& caller, const std::string& path) {
    const auto reply = caller.expect<shm::Reply>(shm::Kind::kReply);
    EXPECT_EQ(reply.flags, kFinalReleased | shm::kError);
    EXPECT_EQ(reply.code, static_cast<uint8_t>(base::Code::kUnavailable));
    EXPECT_NE(message_of(reply).find("would wait for itself: " + path + ";"), std::string::npos)
        << message_of(reply);
    give_back(caller, reply.lease);
    turn();
  }

  std::unique_ptr<FakePeer> frontend_;
  std::unique_ptr<FakePeer> one_;
  std::unique_ptr<FakePeer> two_;
};

TEST_F(CallsTest, a_call_is_answered_and_its_answer_returned) {
  submit(*frontend_, 1);
  const Given outer = execute(*one_);
  call(*one_, 9, 2, outer.batch);
  const Given inner = execute(*two_);
  EXPECT_EQ(inner.submitter, one_->id);
  answer(*two_, inner);
  const auto reply = one_->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(reply.ticket, 9u);
  EXPECT_EQ(reply.owner, two_->id);
  EXPECT_EQ(reply.flags, kFinalReleased);
  give_back(*one_, reply.lease);
  turn();
  EXPECT_EQ(two_->expect<shm::Returned>(shm::Kind::kReturned).cookie, 5u);
  answer(*one_, outer);
  give_back(*frontend_, frontend_->expect<shm::Reply>(shm::Kind::kReply).lease);
  turn();
  expect_nothing_left();
  EXPECT_EQ(engine_->counters().violations, 0u);
}

TEST_F(CallsTest, a_model_that_calls_itself_needs_another_instance) {
  submit(*frontend_, 1);
  const Given outer = execute(*one_);
  call(*one_, 9, 1, outer.batch);
  expect_circle(*one_, "one -> one");
  const auto other = instance_of(1);
  call(*one_, 10, 1, outer.batch);
  answer(*other, execute(*other));
  EXPECT_EQ(one_->expect<shm::Reply>(shm::Kind::kReply).ticket, 10u);
}

TEST_F(CallsTest, a_circle_through_others_is_refused_where_it_closes) {
  submit(*frontend_, 1);
  const Given outer = execute(*one_);
  call(*one_, 9, 2, outer.batch);
  const Given inner = execute(*two_);
  call(*two_, 3, 1, inner.batch);
  expect_circle(*two_, "two -> one -> two");
  answer(*two_, inner);
  EXPECT_EQ(one_->expect<shm::Reply>(shm::Kind::kReply).ticket, 9u) << "the others go on";
}

TEST_F(CallsTest, an_instance_that_is_merely_busy_closes_no_circle) {
  const auto other = instance_of(1);
  submit(*frontend_, 1);
  submit(*frontend_, 2);
  const Given outer = execute(*one_);
  const Given busy = execute(*other);
  call(*one_, 9, 2, outer.batch);
  const Given inner = execute(*two_);
  call(*two_, 3, 1, inner.batch);
  EXPECT_FALSE(two_->take().has_value()) << "it waits for the other instance";
  answer(*other, busy);
  answer(*other, execute(*other));
  EXPECT_EQ(two_->expect<shm::Reply>(shm::Kind::kReply).ticket, 3u);
}

TEST_F(CallsTest, two_requests_that_take_each_others_last_instance) {
  const auto other = instance_of(1);
  submit(*frontend_, 1);
  submit(*frontend_, 2);
  const Given first = execute(*one_);
  const Given second = execute(*other);
  call(*one_, 9, 1, first.batch);
  EXPECT_FALSE(one_->take().has_value());
  call(*other, 9, 1, second.batch);
  expect_circle(*other, "one -> one");
  answer(*other, second);
  answer(*other, execute(*other));
  EXPECT_EQ(one_->expect<shm::Reply>(shm::Kind::kReply).ticket, 9u);
}

TEST_F(CallsTest, what_nobody_waits_for_closes_no_circle) {
  submit(*frontend_, 1);
  const Given outer = execute(*one_);
  call(*one_, 9, 1, 0);
  EXPECT_FALSE(one_->take().has_value());
  answer(*one_, outer);
  const Given own = execute(*one_);
  EXPECT_EQ(own.submitter, one_->id);
  call(*one_, 10, 1, outer.batch);
  EXPECT_FALSE(one_->take().has_value()) << "that batch is over";
}

TEST_F(CallsTest, a_circle_through_an_ensemble) {
  ModelSettings settings;
  settings.name = "both";
  settings.ensemble.emplace();
  settings.ensemble->tensors = {"A", "B"};
  settings.ensemble->steps = {{"one", 1, {{"IN", 0}}, {{"OUT", 1}}}};
  ASSERT_TRUE(engine_->add_model(3, settings).ok());
  const auto entry = [](const char* name, int handle, const char* input, const char* output) {
    const auto tensor = [](const std::string& called) {
      return R"([{"name":")" + called + R"(","datatype":"FP32","dims":[4]}])";
    };
    return R"({"op":"model","name":")" + std::string(name) +
           R"(","versions":[{"version":1,"state":"READY","handle":)" + std::to_string(handle) +
           R"(,"spec":{"max_batch_size":0,"inputs":)" + tensor(input) + R"(,"outputs":)" +
           tensor(output) + "}}]}";
  };
  ASSERT_TRUE(engine_->announce(entry("one", 1, "IN", "OUT")).ok());
  ASSERT_TRUE(engine_->announce(entry("both", 3, "A", "B")).ok());
  submit(*frontend_, 1);
  const Given outer = execute(*one_);
  shm::RequestBuilder builder;
  builder.header.parent = outer.batch;
  const int64_t shape[] = {4};
  builder.add_input("A", 0, base::Datatype::kFp32, shape, {shm::Place::kRegion, one_->id, 0, 16});
  const auto table = builder.finish();
  std::memcpy(one_->region.data() + 4096, table.data(), table.size());
  shm::Submit record;
  record.model = 3;
  record.ticket = 9;
  record.table_offset = 4096;
  record.table_bytes = static_cast<uint32_t>(table.size());
  one_->send(record);
  turn();
  const auto reply = one_->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_NE(message_of(reply).find("one -> both -> one"), std::string::npos) << message_of(reply);
  give_back(*one_, reply.lease);
  answer(*one_, outer);
  give_back(*frontend_, frontend_->expect<shm::Reply>(shm::Kind::kReply).lease);
  turn();
  expect_nothing_left();
}

TEST_F(CallsTest, an_instance_whose_model_calls_gets_no_batch_ahead) {
  for (uint64_t ticket = 1; ticket <= 3; ++ticket) {  // quick enough to run ahead
    submit(*frontend_, ticket);
    answer(*one_, execute(*one_));
  }
  submit(*frontend_, 4);
  const Given first = execute(*one_);
  submit(*frontend_, 5);
  const Given second = execute(*one_);
  call(*one_, 9, 2, first.batch);
  answer(*one_, first);
  submit(*frontend_, 6);
  turn();
  EXPECT_FALSE(one_->take().has_value()) << "from now on one after another";
  answer(*one_, second);
  execute(*one_);
}

TEST_F(CallsTest, a_callee_that_dies_is_an_error_of_the_call) {
  submit(*frontend_, 1);
  const Given outer = execute(*one_);
  call(*one_, 9, 2, outer.batch);
  execute(*two_);
  engine_->retire_peer(two_->id, "it died", now_ns_);
  turn();
  const auto reply = one_->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(reply.flags, kFinalReleased | shm::kError);
  EXPECT_NE(message_of(reply).find("it died"), std::string::npos);
}

TEST_F(CallsTest, a_caller_that_dies_takes_its_calls_along) {
  submit(*frontend_, 1);
  const Given outer = execute(*one_);
  call(*one_, 9, 2, outer.batch);
  const Given running = execute(*two_);
  call(*one_, 10, 2, outer.batch);
  EXPECT_EQ(engine_->counters().queued_requests, 1u);
  engine_->retire_peer(one_->id, "it died", now_ns_);
  turn();
  EXPECT_EQ(engine_->counters().queued_requests, 0u);
  EXPECT_EQ(two_->expect<shm::Cancelled>(shm::Kind::kCancelled).ticket, running.ticket);
  // The call may still read the memory of the request on whose behalf it was made.
  const auto reply = frontend_->expect<shm::Reply>(shm::Kind::kReply);
  EXPECT_EQ(reply.flags, shm::kFinal | shm::kError);
  EXPECT_FALSE(frontend_->take().has_value());
  give_back(*frontend_, reply.lease);
  answer(*two_, running);
  EXPECT_EQ(two_->expect<shm::Returned>(shm::Kind::kReturned).cookie, 5u);
  EXPECT_EQ(frontend_->expect<shm::Released>(shm::Kind::kReleased).ticket, 1u);
  expect_nothing_left();
}

TEST_F(CallsTest, answers_that_a_dead_caller_had_handed_on_are_returned_later) {
  submit(*frontend_, 1);
  const Given outer = execute(*one_);
  call(*one_, 9, 2, outer.batch);
  answer(*two_, execute(*two_));
  EXPECT_EQ(one_->expect<shm::Reply>(shm::Kind::kReply).ticket, 9u);
  const auto other = instance_of(2);
  call(*one_, 10, 2, outer.batch);  // reads the answer to 9, as far as core can tell
  FakePeer* const reader = two_->end.has_records() ? two_.get() : other.get();
  const Given inner = execute(*reader);
  engine_->retire_peer(one_->id, "it died", now_ns_);
  turn();
  EXPECT_EQ(reader->expect<shm::Cancelled>(shm::Kind::kCancelled).ticket, inner.ticket);
  EXPECT_EQ(engine_->counters().live_leases, 1u) << "the frontend's error";
  if (reader != two_.get()) {
    EXPECT_FALSE(two_->take().has_value());
  }
  respond(*reader, inner.ticket, kFinalReleased, 6);
  done(*reader, inner.batch);
  turn();
  std::vector<uint64_t> returned;
  for (FakePeer* peer : {two_.get(), other.get()}) {
    while (const std::optional<shm::Record> record = peer->take())
      returned.push_back(shm::unpack<shm::Returned>(*record).cookie);
  }
  std::ranges::sort(returned);
  EXPECT_EQ(returned, (std::vector<uint64_t>{5, 6}));
  give_back(*frontend_, frontend_->expect<shm::Reply>(shm::Kind::kReply).lease);
  turn();
  expect_nothing_left();
}

TEST_F(CallsTest, a_model_that_is_removed_while_its_memory_is_read) {
  submit(*frontend_, 1);
  const Given outer = execute(*one_);
  call(*one_, 9, 2, outer.batch);
  const Given running = execute(*two_);
  engine_->retire_peer(one_->id, "it died", now_ns_);
  engine_->remove_model(1);
  turn();
  give_back(*frontend_, frontend_->expect<shm::Reply>(shm::Kind::kReply).lease);
  two_->take();
  answer(*two_, running);
  EXPECT_EQ(frontend_->expect<shm::Released>(shm::Kind::kReleased).ticket, 1u);
  expect_nothing_left();
}

}  // namespace
}  // namespace pyserver::engine
