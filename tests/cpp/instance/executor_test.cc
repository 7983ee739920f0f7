// Batches in, responses out: what an instance sends, when it releases a request's memory, and what
// it does with nonsense.
#include "instance/executor.h"

#include <thread>

#include "base/clock.h"
#include "core_side.h"

namespace pyserver::instance {
namespace {

class ExecutorTest : public CoreSide {};

base::Status gone() { return base::internal_error("gone"); }

TEST_F(ExecutorTest, a_batch_comes_with_its_requests_inputs) {
  send_batch(41, {float_request(1, {1, 2}), float_request(2, {3, 4, 5, 6}, 2)});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  EXPECT_EQ(batch.id, 41u);
  EXPECT_EQ(batch.batch_size, 3u);
  ASSERT_EQ(batch.requests.size(), 2u);
  const Input& input = batch.requests[1]->inputs()[0];
  EXPECT_EQ(input.name, "INPUT0");
  EXPECT_EQ(input.datatype, base::Datatype::kFp32);
  EXPECT_EQ(std::vector<int64_t>(input.shape.begin(), input.shape.end()),
            (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(reinterpret_cast<const float*>(input.bytes.data())[3], 6.0f);
  for (const RequestRef& request : batch.requests) link().fail(*request, gone());
  executor_->done(&batch);
}

TEST_F(ExecutorTest, control_tensors_are_made_here_unless_core_says_that_they_are_given) {
  const std::vector<uint8_t> no(4, 0);
  const std::vector<uint8_t> yes(4, 1);
  executor_->set_controls({{{"START", ControlKind::kStart, base::Datatype::kFp32, no, yes},
                            {"READY", ControlKind::kReady, base::Datatype::kFp32, no, yes}},
                           true});
  std::vector<shm::Execute> requests;
  for (const uint8_t flags : {uint8_t{0}, shm::kControlsGiven}) {
    shm::RequestBuilder table;
    const int64_t shape[] = {1, 1};
    table.add_input("START", 0xffff, base::Datatype::kFp32, shape, put_floats({7}));
    requests.push_back(put_request(requests.size() + 1, table));
    requests.back().flags = shm::kSequenceStart | shm::kSequenceReady | flags;
  }
  send_batch(1, requests);
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  ASSERT_EQ(batch.requests.size(), 2u);
  const auto bytes = [&](size_t request, const char* name) {
    const Input* input = batch.requests[request]->find_input(name);
    return std::vector<uint8_t>(input->bytes.begin(), input->bytes.end());
  };
  EXPECT_EQ(bytes(0, "START"), yes);
  EXPECT_EQ(bytes(1, "START"), (std::vector<uint8_t>{0, 0, 0xe0, 0x40})) << "7, as it was given";
  for (size_t request : {0, 1}) {
    EXPECT_EQ(batch.requests[request]->inputs().size(), 2u);
    EXPECT_EQ(bytes(request, "READY"), yes);
    EXPECT_EQ(batch.requests[request]->flags(), shm::kSequenceStart);
  }
  for (const RequestRef& request : batch.requests) link().fail(*request, gone());
  executor_->done(&batch);
}

TEST_F(ExecutorTest, half_a_batch_waits_for_its_other_half) {
  shm::BatchHead head;
  head.request_count = 2;
  send(head);
  send(float_request(1, {1}));
  Batch batch;
  EXPECT_EQ(executor_->next_batch(1'000'000, &batch), Wait::kTimeout);
  send(float_request(2, {1}));
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  EXPECT_EQ(batch.requests.size(), 2u);
}

TEST_F(ExecutorTest, an_error_carries_code_and_text_and_releases_the_request) {
  send_batch(1, {float_request(9, {1})});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  link().fail(*batch.requests[0], base::invalid_argument("no such thing"));
  executor_->done(&batch);
  const shm::Response response = take_response();
  EXPECT_EQ(response.ticket, 9u);
  EXPECT_EQ(response.flags, shm::kError | shm::kFinal | shm::kReleasedFlag);
  EXPECT_EQ(response.code, static_cast<uint8_t>(base::Code::kInvalidArgument));
  EXPECT_EQ(view(response).message(), "no such thing");
  EXPECT_TRUE(next_is(shm::Kind::kBatchDone));
  EXPECT_FALSE(take());
}

TEST_F(ExecutorTest, the_times_of_a_batch_never_run_backwards) {
  send_batch(5, {float_request(9, {1})});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  batch.requests.clear();
  executor_->done(&batch);
  take();
  const shm::BatchDone done = shm::unpack<shm::BatchDone>(*take());
  EXPECT_EQ(done.batch, 5u);
  EXPECT_GT(done.compute_start_ns, 0u);
  EXPECT_LE(done.compute_start_ns, done.compute_input_end_ns);
  EXPECT_LE(done.compute_input_end_ns, done.compute_output_start_ns);
  EXPECT_LE(done.compute_output_start_ns, done.compute_end_ns);
}

TEST_F(ExecutorTest, memory_of_a_response_is_freed_when_core_hands_it_back) {
  const uint64_t blocks = link().memory()->live_blocks();
  send_batch(1, {float_request(9, {1})});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  shm::ResponseBuilder table;
  std::vector<BufferRef> buffers{link().memory()->make_buffer(1000)};
  link().respond(*batch.requests[0], table.finish(), std::move(buffers), true);
  executor_->done(&batch);
  const shm::Response response = take_response();
  EXPECT_EQ(link().lease_count(), 1u);
  EXPECT_EQ(link().memory()->live_blocks(), blocks + 2);
  return_lease(response);
  EXPECT_EQ(link().lease_count(), 0u);
  EXPECT_EQ(link().memory()->live_blocks(), blocks);
  return_lease(response);  // a second time is nonsense and harmless
  shm::Returned nonsense;
  nonsense.cookie = ~uint64_t{0};
  send(nonsense);
  executor_->poll();
  EXPECT_EQ(link().memory()->live_blocks(), blocks);
}

TEST_F(ExecutorTest, one_buffer_may_serve_several_responses) {
  const uint64_t blocks = link().memory()->live_blocks();
  send_batch(1, {float_request(1, {1}), float_request(2, {1})});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  shm::ResponseBuilder table;
  BufferRef shared = link().memory()->make_buffer(1000);
  for (const RequestRef& request : batch.requests) {
    link().respond(*request, table.finish(), {shared}, true);
  }
  shared.reset();
  executor_->done(&batch);
  const shm::Response first = take_response();
  const shm::Response second = take_response();
  return_lease(first);
  EXPECT_EQ(link().memory()->live_blocks(), blocks + 2);
  return_lease(second);
  EXPECT_EQ(link().memory()->live_blocks(), blocks);
}

TEST_F(ExecutorTest, a_view_that_outlives_the_answer_delays_the_release) {
  send_batch(1, {float_request(9, {1})});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  std::unique_ptr<Hold> first = Hold::take(batch.requests[0]);
  std::unique_ptr<Hold> second = Hold::take(batch.requests[0]);
  shm::ResponseBuilder table;
  link().respond(*batch.requests[0], table.finish(), {}, true);
  executor_->done(&batch);
  EXPECT_EQ(take_response().flags, shm::kFinal);
  EXPECT_TRUE(next_is(shm::Kind::kBatchDone));
  std::thread([&] { first.reset(); }).join();
  EXPECT_FALSE(take());
  std::thread([&] { second.reset(); }).join();
  EXPECT_TRUE(next_is(shm::Kind::kRelease));
  EXPECT_EQ(link().request_count(), 0u);
}

TEST_F(ExecutorTest, released_memory_cannot_be_held_again) {
  send_batch(1, {float_request(9, {1})});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  const RequestRef kept = batch.requests[0];
  link().finish(*kept);
  EXPECT_EQ(Hold::take(kept), nullptr);
}

TEST_F(ExecutorTest, many_responses_and_an_empty_final_one) {
  send_batch(1, {float_request(9, {1})});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  const RequestRef request = batch.requests[0];
  executor_->done(&batch);
  EXPECT_TRUE(next_is(shm::Kind::kBatchDone));
  shm::ResponseBuilder table;
  for (int count = 0; count < 3; ++count) link().respond(*request, table.finish(), {}, false);
  link().fail(*request, gone(), false);
  link().finish(*request);
  link().finish(*request);
  link().respond(*request, table.finish(), {}, false);
  link().flush();
  for (int count = 0; count < 3; ++count) EXPECT_EQ(take_response().flags, 0);
  EXPECT_EQ(take_response().flags, shm::kError);
  EXPECT_EQ(take_response().flags, shm::kEmpty | shm::kFinal | shm::kReleasedFlag);
  EXPECT_FALSE(take());
}

TEST_F(ExecutorTest, a_request_may_be_allowed_few_unread_responses) {
  shm::Execute few = float_request(9, {1});
  few.max_unread = 2;
  send_batch(1, {few, float_request(10, {1})});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  shm::ResponseBuilder table;
  for (int count = 0; count < 2; ++count) {
    EXPECT_FALSE(link().crowded(*batch.requests[0]));
    link().respond(*batch.requests[0], table.finish(), {}, false);
    link().respond(*batch.requests[1], table.finish(), {}, false);
  }
  link().flush();
  EXPECT_TRUE(link().crowded(*batch.requests[0]));
  EXPECT_FALSE(link().crowded(*batch.requests[1]));
  link().returned(take_response().cookie);
  EXPECT_FALSE(link().crowded(*batch.requests[0]));
}

TEST_F(ExecutorTest, a_dropped_request_is_answered) {
  send_batch(1, {float_request(9, {1})});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  batch.requests.clear();
  const shm::Response response = take_response();
  EXPECT_EQ(response.flags, shm::kError | shm::kFinal | shm::kReleasedFlag);
}

TEST_F(ExecutorTest, nonsense_tables_are_answered_and_the_next_batch_comes) {
  std::vector<shm::Execute> bad;
  for (uint64_t ticket = 1; ticket <= 5; ++ticket) bad.push_back(float_request(ticket, {1, 2}));
  bad[0].table_offset = kRegionBytes;
  bad[1].table_bytes = 0xffffffff;
  bad[2].submitter = 99;
  submitter_memory_.data()[bad[3].table_offset] ^= 0xff;  // the magic
  bad[4].table_bytes -= 9;
  send_batch(1, bad);
  send_batch(2, {float_request(6, {1})});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  EXPECT_EQ(batch.id, 2u);
  for (uint64_t ticket = 1; ticket <= 5; ++ticket) {
    const shm::Response response = take_response();
    EXPECT_EQ(response.ticket, ticket);
    EXPECT_TRUE(response.flags & shm::kError);
    EXPECT_FALSE(view(response).message().empty());
  }
  EXPECT_TRUE(next_is(shm::Kind::kBatchDone));
}

TEST_F(ExecutorTest, inputs_that_cannot_be_are_refused) {
  struct Row {
    std::vector<int64_t> shape;
    uint64_t offset;
    uint64_t byte_size;
    uint32_t region;
    const char* says;
  };
  const Row rows[] = {
      {{4}, 0, 15, kSubmitterPeer, "byte size"},
      {{4}, kRegionBytes - 15, 16, kSubmitterPeer, "outside"},
      {{4}, ~uint64_t{0}, 16, kSubmitterPeer, "outside"},
      {{-4}, 0, 16, kSubmitterPeer, "impossible"},
      {{int64_t{1} << 40, int64_t{1} << 40}, 0, 16, kSubmitterPeer, "impossible"},
      {{int64_t{1} << 62}, 0, 16, kSubmitterPeer, "byte size"},
      {{4}, 0, 16, 1234, "gone"},
  };
  for (const Row& row : rows) {
    shm::RequestBuilder table;
    table.add_input("IN", 0, base::Datatype::kFp32, row.shape,
                    {shm::Place::kRegion, row.region, row.offset, row.byte_size});
    send_batch(1, {put_request(1, table)});
    Batch batch;
    EXPECT_EQ(executor_->next_batch(0, &batch), Wait::kTimeout);
    const std::string message(view(take_response()).message());
    EXPECT_NE(message.find(row.says), std::string::npos) << message;
    EXPECT_NE(message.find("'IN'"), std::string::npos) << message;
    EXPECT_TRUE(next_is(shm::Kind::kBatchDone));
  }
}

TEST_F(ExecutorTest, cancellation_is_seen_while_executing_and_before) {
  send_batch(1, {float_request(1, {1}), float_request(2, {1})});
  shm::Cancelled cancelled;
  cancelled.ticket = 2;
  send(cancelled);
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  EXPECT_FALSE(batch.requests[0]->cancelled());
  EXPECT_TRUE(batch.requests[1]->cancelled());
  cancelled.ticket = 1;
  send(cancelled);
  executor_->poll();
  EXPECT_TRUE(batch.requests[0]->cancelled());
}

TEST_F(ExecutorTest, a_response_that_does_not_fit_says_so) {
  open(256);  // room for the table that says it, and little else
  const std::string text(1000, 'x');
  send_batch(1, {float_request(1, {1}), float_request(2, {1})});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  EXPECT_EQ(link().memory()->make_buffer(1000), nullptr);
  for (const RequestRef& request : batch.requests)
    link().fail(*request, base::internal_error(text));
  executor_->done(&batch);
  for (int count = 0; count < 2; ++count) {
    const shm::Response response = take_response();
    EXPECT_TRUE(response.flags & shm::kError);
    EXPECT_EQ(response.cookie, 0u);
    EXPECT_EQ(response.code, static_cast<uint8_t>(base::Code::kUnavailable));
    EXPECT_NE(view(response).message().find("exhausted"), std::string::npos);
  }
}

TEST_F(ExecutorTest, stop_wakes_a_sleeping_instance_but_lets_it_finish_what_came) {
  std::thread stopper([&] {
    send_batch(1, {float_request(1, {1})});
    executor_->stop();
  });
  Batch batch;
  EXPECT_EQ(executor_->next_batch(kForever, &batch), Wait::kBatch);
  stopper.join();
  executor_->done(&batch);
  EXPECT_EQ(executor_->next_batch(kForever, &batch), Wait::kStopped);
}

TEST_F(ExecutorTest, the_doorbell_wakes_a_sleeping_instance) {
  constexpr int kBatches = 200;
  std::thread sender([&] {
    for (int id = 1; id <= kBatches; ++id) {
      send_batch(static_cast<uint64_t>(id), {float_request(static_cast<uint64_t>(id), {1})});
      if (id % 16 == 0) std::this_thread::yield();
    }
  });
  Batch batch;
  for (int id = 1; id <= kBatches; ++id) {
    ASSERT_EQ(executor_->next_batch(10'000'000'000, &batch), Wait::kBatch);
    EXPECT_EQ(batch.id, static_cast<uint64_t>(id));
    link().finish(*batch.requests[0]);
    executor_->done(&batch);
  }
  sender.join();
}

TEST_F(ExecutorTest, a_broken_ring_is_noticed) {
  shm::Mapping rings;
  ASSERT_TRUE(shm::Mapping::map(fds_.rings.get(), true, &rings).ok());
  reinterpret_cast<shm::RingHeader*>(rings.data() + shm::kFromCoreOffset)
      ->tail.store(uint64_t{1} << 40);
  Batch batch;
  EXPECT_EQ(executor_->next_batch(0, &batch), Wait::kBroken);
}

TEST_F(ExecutorTest, answers_and_releases_from_many_threads) {
  std::vector<shm::Execute> requests;
  for (uint64_t ticket = 1; ticket <= 64; ++ticket) requests.push_back(float_request(ticket, {1}));
  send_batch(1, requests);
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  std::vector<RequestRef> mine = batch.requests;
  executor_->done(&batch);
  std::vector<std::thread> threads;
  for (size_t part = 0; part < 4; ++part) {
    threads.emplace_back([&, part] {
      shm::ResponseBuilder table;
      for (size_t index = part; index < mine.size(); index += 4) {
        std::unique_ptr<Hold> hold = Hold::take(mine[index]);
        link().respond(*mine[index], table.finish(), {link().memory()->make_buffer(64)}, true);
        executor_->poll();
        mine[index].reset();
      }
      link().flush();
    });
  }
  for (std::thread& thread : threads) thread.join();
  int responses = 0;
  int releases = 0;
  while (const std::optional<shm::Record> record = take()) {
    if (record->kind == shm::Kind::kRelease) ++releases;
    if (record->kind != shm::Kind::kResponse) continue;
    ++responses;
    return_lease(shm::unpack<shm::Response>(*record));
  }
  EXPECT_EQ(responses, 64);
  EXPECT_EQ(releases, 64);
  EXPECT_EQ(link().lease_count(), 0u);
  EXPECT_EQ(link().request_count(), 0u);
}

}  // namespace
}  // namespace pyserver::instance
