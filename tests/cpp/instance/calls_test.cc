// An instance as a submitter: what it sends for a call, whose memory it keeps for how long, and how threads wait.
#include "instance/calls.h"

#include <poll.h>
#include <sys/epoll.h>

#include <thread>

#include "core_side.h"

namespace pyserver::instance {
namespace {

constexpr uint32_t kCalleePeer = 9;

std::shared_ptr<model::ModelSpec> add_model() {
  auto made = std::make_shared<model::ModelSpec>();
  made->name = "add";
  made->version = 1;
  made->version_text = "1";
  made->handle = 21;
  made->inputs.push_back({"X", base::Datatype::kFp32, {-1}, {}, false, false, false, {}});
  made->outputs.push_back({"Z", base::Datatype::kFp32, {-1}, {}, false, false, false, {}});
  return made;
}

class CallsTest : public CoreSide {
 protected:
  void SetUp() override {
    CoreSide::SetUp();
    base::UniqueFd fd;
    ASSERT_TRUE(shm::make_memfd("test-callee", kRegionBytes, &fd).ok());
    ASSERT_TRUE(shm::Mapping::map(fd.get(), true, &callee_memory_).ok());
    ASSERT_TRUE(regions_->add(kCalleePeer, fd.get()).ok());
  }

  // FP32 [count] in the own region.
  CallRequest request(int64_t count = 2) {
    CallRequest made;
    made.model = add_model();
    const auto bytes = static_cast<uint64_t>(count) * sizeof(float);
    const BufferRef buffer = link().memory()->make_buffer(bytes);
    made.inputs.push_back({"X",
                           base::Datatype::kFp32,
                           {count},
                           {buffer->data(), bytes},
                           {shm::Place::kRegion, kInstancePeer, buffer->offset(), bytes}});
    made.memory->buffers.push_back(buffer);
    return made;
  }

  CallRef make_call(CallRequest given, std::shared_ptr<Completions> completions = nullptr) {
    CallRef call;
    const base::Status status = executor_->call(std::move(given), std::move(completions), &call);
    EXPECT_TRUE(status.ok()) << status.message();
    return call;
  }

  shm::Submit take_submit() {
    const std::optional<shm::Record> record = take();
    EXPECT_TRUE(record && record->kind == shm::Kind::kSubmit);
    return record ? shm::unpack<shm::Submit>(*record) : shm::Submit{};
  }

  // Z = [value], in the callee's region.
  void reply(uint64_t ticket, float value, uint8_t flags, uint64_t lease = 77) {
    shm::ResponseBuilder table;
    const int64_t shape[] = {1};
    std::memcpy(callee_memory_.data() + 1024, &value, sizeof value);
    table.add_output("Z", 0, base::Datatype::kFp32, shape,
                     {shm::Place::kRegion, kCalleePeer, 1024, sizeof value});
    send_reply(ticket, table.finish(), flags, lease);
  }

  void send_reply(uint64_t ticket, std::span<const uint8_t> table, uint8_t flags, uint64_t lease) {
    std::memcpy(callee_memory_.data(), table.data(), table.size());
    shm::Reply record;
    record.flags = flags;
    record.code = static_cast<uint8_t>(base::Code::kNotFound);
    record.ticket = ticket;
    record.table_bytes = static_cast<uint32_t>(table.size());
    record.owner = kCalleePeer;
    record.lease = lease;
    send(record);
  }

  shm::Mapping callee_memory_;
};

constexpr uint8_t kLast = shm::kFinal | shm::kReleasedFlag;

TEST_F(CallsTest, a_call_is_sent_answered_and_given_back) {
  const uint64_t before = link().memory()->live_blocks();
  CallRequest given = request();
  given.request_id = "me";
  given.parent = 5;
  given.flags = shm::kSequenceStart;
  given.timeout_us = 3;
  CallRef call = make_call(std::move(given));
  const shm::Submit submit = take_submit();
  EXPECT_EQ(submit.model, 21u);
  EXPECT_EQ(submit.flags, shm::kSequenceStart);
  EXPECT_EQ(submit.timeout_us, 3u);
  EXPECT_EQ(submit.payload_bytes, 8u);
  const auto shared = shm::bytes_at(instance_memory_, submit.table_offset, submit.table_bytes);
  ASSERT_TRUE(shared);
  EXPECT_EQ(shm::read_parent(*shared), 5u);
  shm::RequestView table;
  ASSERT_TRUE(table.parse(*shared).ok());
  EXPECT_EQ(table.request_id(), "me");
  EXPECT_EQ(table.inputs()[0].region, kInstancePeer);
  EXPECT_FALSE(call->ready());
  reply(submit.ticket, 4.5f, kLast);
  ASSERT_TRUE(executor_->wait_for(*call));
  AnswerRef answer = call->take();
  ASSERT_NE(answer, nullptr);
  EXPECT_TRUE(call->over());
  ASSERT_EQ(answer->outputs().size(), 1u);
  float value = 0;
  std::memcpy(&value, answer->outputs()[0].bytes.data(), sizeof value);
  EXPECT_EQ(value, 4.5f);
  EXPECT_EQ(answer->outputs()[0].location.region, kCalleePeer);
  EXPECT_EQ(executor_->calls()->count(), 0u);
  EXPECT_FALSE(take().has_value()) << "the answer is still read";
  EXPECT_GT(link().memory()->live_blocks(), before) << "and may refer to its request's memory";
  answer.reset();
  const std::optional<shm::Record> back = take();
  ASSERT_TRUE(back && back->kind == shm::Kind::kReturn);
  EXPECT_EQ(shm::unpack<shm::Return>(*back).lease, 77u);
  EXPECT_EQ(link().memory()->live_blocks(), before);
}

TEST_F(CallsTest, a_request_that_is_wrong_is_refused_with_the_texts_of_clients) {
  CallRequest given = request();
  given.inputs[0].datatype = base::Datatype::kInt32;
  CallRef call;
  const uint64_t before = link().memory()->live_blocks();
  const base::Status status = executor_->call(std::move(given), nullptr, &call);
  EXPECT_EQ(status.message(),
            "[request id: <id_unknown>] inference input 'X' data-type is 'INT32', but model 'add' "
            "expects 'FP32'");
  EXPECT_EQ(call, nullptr);
  EXPECT_FALSE(take().has_value());
  EXPECT_EQ(link().memory()->live_blocks(), before - 1) << "the input's, with the request";
}

TEST_F(CallsTest, a_call_that_refers_to_a_request_keeps_its_memory_until_it_is_released) {
  send_batch(8, {float_request(1, {1, 2})});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  EXPECT_EQ(executor_->current_batch(false), 8u);
  CallRequest given;
  given.model = add_model();
  const Input& input = batch.requests[0]->inputs()[0];
  given.inputs.push_back({"X", input.datatype, {2}, input.bytes, input.location});
  given.memory->holds.push_back(Hold::take(batch.requests[0]));
  const CallRef call = make_call(std::move(given));
  const shm::Submit submit = take_submit();
  reply(submit.ticket, 1, shm::kFinal);
  ASSERT_TRUE(executor_->wait_for(*call));
  call->take();
  EXPECT_TRUE(next_is(shm::Kind::kReturn));
  link().respond(*batch.requests[0], shm::ResponseBuilder().finish(), {}, true);
  executor_->done(&batch);
  EXPECT_EQ(executor_->current_batch(true), 0u);
  EXPECT_EQ(take_response().flags, shm::kFinal) << "not released: the callee may still read it";
  EXPECT_TRUE(next_is(shm::Kind::kBatchDone));
  EXPECT_EQ(executor_->calls()->count(), 1u);
  shm::Released released;
  released.ticket = submit.ticket;
  send(released);
  executor_->poll();
  EXPECT_TRUE(next_is(shm::Kind::kRelease));
  EXPECT_EQ(executor_->calls()->count(), 0u);
}

TEST_F(CallsTest, answers_that_nobody_takes_go_back_at_once) {
  const CallRef call = make_call(request());
  const uint64_t ticket = take_submit().ticket;
  reply(ticket, 1, 0, 70);
  executor_->poll();
  EXPECT_FALSE(take().has_value());
  executor_->calls()->drop(*call);
  EXPECT_TRUE(next_is(shm::Kind::kReturn));
  reply(ticket, 1, kLast, 71);
  executor_->poll();
  EXPECT_TRUE(next_is(shm::Kind::kReturn));
  EXPECT_EQ(executor_->calls()->count(), 0u);
  reply(ticket, 1, kLast, 72);
  executor_->poll();
  EXPECT_TRUE(next_is(shm::Kind::kReturn)) << "of a call that is long over, too";
}

TEST_F(CallsTest, nonsense_is_an_error_and_never_a_wild_read) {
  const auto status_of = [&](const std::function<void(uint64_t)>& answer) {
    const CallRef call = make_call(request());
    answer(take_submit().ticket);
    executor_->poll();
    const AnswerRef given = call->take();
    EXPECT_NE(given, nullptr);
    return given == nullptr ? std::string() : given->status().message();
  };
  const auto with_output = [&](const shm::Location& location) {
    return [this, location](uint64_t ticket) {
      shm::ResponseBuilder table;
      const int64_t shape[] = {1};
      table.add_output("Z", 0, base::Datatype::kFp32, shape, location);
      send_reply(ticket, table.finish(), kLast, 0);
    };
  };
  const std::string lost = "the response of model 'add' is no longer there: its process ended";
  EXPECT_EQ(status_of(with_output({shm::Place::kRegion, kCalleePeer, kRegionBytes, 4})), lost);
  EXPECT_EQ(status_of(with_output({shm::Place::kRegion, 1234, 0, 4})), lost);
  EXPECT_EQ(status_of(with_output({shm::Place::kRegion, kCalleePeer, 0, 8})),
            "output 'Z' of model 'add' has a byte size that does not follow from its shape");
  EXPECT_EQ(status_of([&](uint64_t ticket) {
              shm::Reply record;
              record.ticket = ticket;
              record.flags = kLast;
              record.table_offset = ~uint64_t{0};
              record.table_bytes = 100;
              record.owner = kCalleePeer;
              send(record);
            }),
            lost);
  EXPECT_EQ(status_of([&](uint64_t ticket) {
              shm::ResponseBuilder table;
              table.set_message("nothing there");
              send_reply(ticket, table.finish(), kLast | shm::kError, 0);
            }),
            "nothing there");
}

TEST_F(CallsTest, many_threads_wait_while_the_own_one_waits_for_a_batch) {
  constexpr int kThreads = 8;
  constexpr int kRounds = 50;
  std::vector<std::thread> threads;
  for (int number = 0; number < kThreads; ++number) {
    threads.emplace_back([this] {
      for (int round = 0; round < kRounds; ++round) {
        const CallRef call = make_call(request(1));
        ASSERT_TRUE(executor_->wait_for(*call));
        ASSERT_NE(call->take(), nullptr);
      }
    });
  }
  std::thread own([this] {
    Batch batch;
    while (executor_->next_batch(kForever, &batch) == Wait::kBatch) {
      for (const RequestRef& request : batch.requests)
        link().fail(*request, base::internal_error("no"));
      executor_->done(&batch);
    }
  });
  int answered = 0;
  int batches = 0;
  while (answered < kThreads * kRounds || batches > 0) {
    const std::optional<shm::Record> record = take();
    if (!record) {
      std::this_thread::yield();
    } else if (record->kind == shm::Kind::kSubmit) {
      if (++answered % 16 == 0 && ++batches > 0)
        send_batch(static_cast<uint64_t>(answered), {float_request(1, {1})});
      shm::Reply reply;
      reply.flags = kLast | shm::kEmpty;
      reply.ticket = shm::unpack<shm::Submit>(*record).ticket;
      send(reply);
    } else if (record->kind == shm::Kind::kBatchDone) {
      --batches;
    }
  }
  for (std::thread& thread : threads) thread.join();
  executor_->stop();
  own.join();
  EXPECT_EQ(executor_->calls()->count(), 0u);
}

TEST_F(CallsTest, an_event_loop_hears_of_its_calls_though_no_thread_waits) {
  std::shared_ptr<Completions> completions;
  ASSERT_TRUE(Completions::make(&completions).ok());
  std::vector<CallRef> calls;
  std::vector<uint64_t> tickets;
  for (int number = 0; number < 3; ++number) {
    calls.push_back(make_call(request(), completions));
    tickets.push_back(take_submit().ticket);
  }
  EXPECT_EQ(executor_->calls()->awaited(), 3u);
  for (const uint64_t ticket : tickets) reply(ticket, 1, kLast);
  std::vector<uint64_t> heard;
  while (heard.size() < tickets.size()) {
    pollfd readable{completions->fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&readable, 1, 10'000), 1);
    for (const uint64_t ticket : executor_->heard(*completions)) heard.push_back(ticket);
  }
  EXPECT_EQ(heard, tickets);
  EXPECT_EQ(executor_->calls()->awaited(), 0u);
  for (const CallRef& call : calls) EXPECT_NE(call->take(), nullptr);
  make_call(request(), completions);  // never answered
  executor_->end_calls();
}

// An event loop as asyncio's is: it sleeps on an epoll that has its completions among others.
class Loop {
 public:
  Loop() : sleep_(::epoll_create1(EPOLL_CLOEXEC)) {
    EXPECT_TRUE(Completions::make(&completions).ok());
    epoll_event readable{};
    readable.events = EPOLLIN;
    EXPECT_EQ(::epoll_ctl(sleep_.get(), EPOLL_CTL_ADD, completions->fd(), &readable), 0);
  }

  // Until so many tickets were heard of; with `looks_on` not asleep where that is dearer.
  std::vector<uint64_t> hear(Executor& executor, size_t count, bool looks_on) {
    std::vector<uint64_t> heard;
    while (heard.size() < count) {
      epoll_event event;
      const bool found = looks_on && executor.look_on(*completions, sleep_.get(), 10'000'000'000);
      if (!found && ::epoll_wait(sleep_.get(), &event, 1, 10'000) != 1) break;
      for (const uint64_t ticket : executor.heard(*completions)) heard.push_back(ticket);
    }
    return heard;
  }

  std::shared_ptr<Completions> completions;

 private:
  base::UniqueFd sleep_;
};

TEST_F(CallsTest, a_loop_that_looks_on_hears_what_came_and_does_not_wait_for_more) {
  Loop loop;
  const base::UniqueFd empty(::epoll_create1(EPOLL_CLOEXEC));
  EXPECT_FALSE(executor_->look_on(*loop.completions, empty.get(), kForever)) << "no calls";
  const CallRef call = make_call(request(), loop.completions);
  const uint64_t ticket = take_submit().ticket;
  EXPECT_FALSE(executor_->look_on(*loop.completions, empty.get(), 0)) << "no time";
  reply(ticket, 1, kLast);
  EXPECT_TRUE(executor_->look_on(*loop.completions, empty.get(), kForever));
  EXPECT_EQ(executor_->heard(*loop.completions), std::vector<uint64_t>{ticket});
  EXPECT_TRUE(executor_->heard(*loop.completions).empty());
  EXPECT_FALSE(executor_->look_on(*loop.completions, empty.get(), kForever)) << "no calls";
}

TEST_F(CallsTest, loops_and_threads_and_the_own_thread_wait_at_once) {
  static constexpr int kRounds = 200;
  static constexpr int kAtOnce = 3;
  std::vector<std::thread> threads;
  for (const bool looks_on : {true, false, true, false}) {
    threads.emplace_back([this, looks_on] {
      Loop loop;
      for (int round = 0; round < kRounds; ++round) {
        std::vector<CallRef> calls;
        for (int number = 0; number < kAtOnce; ++number)
          calls.push_back(make_call(request(1), loop.completions));
        ASSERT_EQ(loop.hear(*executor_, kAtOnce, looks_on).size(), kAtOnce);
        for (const CallRef& call : calls) ASSERT_TRUE(call->ready());
      }
    });
  }
  for (int number = 0; number < 2; ++number) {
    threads.emplace_back([this] {
      for (int round = 0; round < kRounds; ++round) {
        const CallRef call = make_call(request(1));
        ASSERT_TRUE(executor_->wait_for(*call));
      }
    });
  }
  std::thread own([this] {
    Batch batch;
    while (executor_->next_batch(kForever, &batch) == Wait::kBatch) {
      link().fail(*batch.requests[0], base::internal_error("no"));
      executor_->done(&batch);
    }
  });
  int left = 4 * kRounds * kAtOnce + 2 * kRounds;
  int batches = 0;
  while (left > 0 || batches > 0) {
    const std::optional<shm::Record> record = take();
    if (!record) {
      std::this_thread::yield();
    } else if (record->kind == shm::Kind::kSubmit) {
      if (--left % 64 == 0 && ++batches > 0)
        send_batch(static_cast<uint64_t>(left + 1), {float_request(1, {1})});
      shm::Reply reply;
      reply.flags = kLast | shm::kEmpty;
      reply.ticket = shm::unpack<shm::Submit>(*record).ticket;
      send(reply);
    } else if (record->kind == shm::Kind::kBatchDone) {
      --batches;
    }
  }
  for (std::thread& thread : threads) thread.join();
  executor_->stop();
  own.join();
  EXPECT_EQ(executor_->calls()->count(), 0u);
  EXPECT_EQ(executor_->calls()->awaited(), 0u);
}

TEST_F(CallsTest, a_loop_hears_of_its_calls_when_the_thread_that_read_goes_away) {
  Loop loop;
  Batch batch;
  std::thread own([&] { EXPECT_EQ(executor_->next_batch(kForever, &batch), Wait::kBatch); });
  const CallRef call = make_call(request(), loop.completions);
  const uint64_t ticket = take_submit().ticket;
  send_batch(3, {float_request(1, {1})});
  own.join();
  reply(ticket, 1, kLast);
  EXPECT_EQ(loop.hear(*executor_, 1, false), std::vector<uint64_t>{ticket});
  link().fail(*batch.requests[0], base::internal_error("no"));
  executor_->done(&batch);
}

TEST_F(CallsTest, calls_that_did_not_fit_into_the_ring_are_sent_though_the_loop_sleeps) {
  Loop loop;
  constexpr size_t kMore = 5;
  const CallRequest one = request(1);
  std::vector<CallRef> calls;
  for (size_t number = 0; number < shm::kRingCapacity + kMore; ++number) {
    CallRequest same = one;
    same.memory = std::make_shared<CallMemory>();
    calls.push_back(make_call(std::move(same), loop.completions));
  }
  EXPECT_GT(link().backlog(), 0u);
  std::thread asleep(
      [&] { EXPECT_EQ(loop.hear(*executor_, calls.size(), false).size(), calls.size()); });
  for (size_t taken = 0; taken < calls.size();) {
    const std::optional<shm::Record> record = take();
    if (!record) {
      std::this_thread::yield();
      continue;
    }
    ++taken;
    shm::Reply reply;
    reply.flags = kLast | shm::kEmpty;
    reply.ticket = shm::unpack<shm::Submit>(*record).ticket;
    send(reply);
  }
  while (core_.backlog() > 0) {
    core_.flush();
    std::this_thread::yield();
  }
  asleep.join();
}

}  // namespace
}  // namespace pyserver::instance
