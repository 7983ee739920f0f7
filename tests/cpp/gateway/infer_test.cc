// Inference through the gateway: bodies in, answers out, memory given back.
#include "gateway/harness.h"

namespace pyserver::gateway::testing {
namespace {

using InferTest = GatewayTest;

std::string floats(size_t count) {
  std::string bytes(count * 4, '\0');
  for (size_t index = 0; index < count; ++index) {
    const auto value = static_cast<float>(index);
    std::memcpy(bytes.data() + index * 4, &value, 4);
  }
  return bytes;
}

TEST_F(InferTest, a_json_request_is_answered_and_its_memory_given_back) {
  const std::string answer = exchange(post(kJsonBody));
  EXPECT_EQ(answer.substr(0, 17), "HTTP/1.1 200 OK\r\n");
  EXPECT_NE(answer.find("Content-Type: application/json\r\n"), std::string::npos);
  EXPECT_EQ(
      body_of(answer),
      R"({"id":"7","model_name":"m","model_version":"1","outputs":[{"name":"OUTPUT0","datatype":"FP32","shape":[3],"data":[1.0,2.0,3.0]}]})");
  expect_nothing_left();
}

TEST_F(InferTest, a_binary_answer_has_the_headers_of_the_extension) {
  const std::string tensor = floats(16);
  const std::string answer = exchange(binary_post(tensor));
  EXPECT_NE(
      answer.find("Content-Type: application/octet-stream\r\nInference-Header-Content-Length: "),
      std::string::npos);
  EXPECT_EQ(answer.substr(answer.size() - tensor.size()), tensor);
  expect_nothing_left();
}

TEST_F(InferTest, tensors_begin_on_a_cache_line) {
  for (const size_t extra : {0, 1, 7, 63}) {
    size_t json_bytes = 0;
    std::string body = binary_body(floats(4), &json_bytes);
    body.insert(json_bytes, std::string(extra, ' '));
    exchange(post(
        body, "Inference-Header-Content-Length: " + std::to_string(json_bytes + extra) + "\r\n"));
    ASSERT_FALSE(core->submits.empty());
  }
  core->on_submit = [this](const shm::Submit& submit) {
    EXPECT_EQ(core->request(submit).inputs()[0].offset % 64, 0u);
    core->answer(submit);
  };
  exchange(binary_post(floats(100)));
  exchange(binary_post(floats(5000)));
  expect_nothing_left();
}

TEST_F(InferTest, a_large_tensor_is_received_and_sent_in_place) {
  const std::string tensor = floats(2u << 20);  // 8 MB
  const std::string request = binary_post(tensor);
  Client client = connect();
  size_t sent = 0;
  std::string answer;
  for (int turn = 0;
       turn < 100000 && (sent < request.size() || answer.size() < tensor.size() + 100); ++turn) {
    if (sent < request.size()) sent += client.send_some(std::string_view(request).substr(sent));
    gateway->turn(0);
    core->poll();
    answer = client.read();
    if (answer.size() > tensor.size()) break;
  }
  run();
  answer = client.read();
  ASSERT_GT(answer.size(), tensor.size());
  EXPECT_TRUE(answer.ends_with(tensor));
  const Counters now = gateway->snapshot();
  EXPECT_LE(now.copied_bytes, kReadBytes);
  EXPECT_GE(now.region_bytes, tensor.size() - kReadBytes);
  expect_nothing_left();
}

TEST_F(InferTest, an_answer_can_lie_in_the_region_of_an_instance) {
  const std::string content = floats(1000);
  core->on_submit = [&](const shm::Submit& submit) { core->answer_with(submit, content); };
  const std::string answer = exchange(binary_post(floats(2)));
  EXPECT_TRUE(answer.ends_with(content));
  expect_nothing_left();
}

TEST_F(InferTest, an_error_of_a_model_has_its_status_and_text) {
  const std::vector<std::pair<base::Code, std::string>> rows = {
      {base::Code::kUnknown, "400"},       {base::Code::kInternal, "500"},
      {base::Code::kNotFound, "404"},      {base::Code::kInvalidArgument, "400"},
      {base::Code::kUnavailable, "503"},   {base::Code::kUnsupported, "501"},
      {base::Code::kAlreadyExists, "400"}, {base::Code::kCancelled, "400"}};
  Client client = connect();
  for (const auto& [code, status] : rows) {
    core->on_submit = [&](const shm::Submit& submit) { core->fail(submit, code, "it \"broke\""); };
    const std::string answer = exchange(&client, post(kJsonBody));
    EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 " + status);
    EXPECT_EQ(body_of(answer), R"({"error":"it \"broke\""})");
  }
  expect_nothing_left();
}

TEST_F(InferTest, no_response_and_many_responses_are_errors) {
  core->on_submit = [&](const shm::Submit& submit) {
    shm::Reply record;
    record.flags = shm::kFinal | shm::kEmpty | shm::kReleasedFlag;
    record.ticket = submit.ticket;
    core->send(record);
  };
  Client client = connect();
  std::string answer = exchange(&client, post(kJsonBody));
  EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 500");
  EXPECT_EQ(body_of(answer), R"({"error":"expected a single response, got 0"})");
  core->on_submit = [&](const shm::Submit& submit) {
    core->answer(submit, 0);
    core->answer(submit, 0);
    core->answer(submit, shm::kFinal);
    shm::Released released;
    released.ticket = submit.ticket;
    core->send(released);
  };
  answer = exchange(&client, post(kJsonBody));
  EXPECT_EQ(body_of(answer), R"({"error":"expected a single response, got 3"})");
  expect_nothing_left();
}

TEST_F(InferTest, memory_stays_until_core_says_that_nobody_reads_it) {
  std::optional<uint64_t> ticket;
  core->on_submit = [&](const shm::Submit& submit) {
    ticket = submit.ticket;
    core->answer(submit, shm::kFinal);
  };
  EXPECT_EQ(exchange(post(kJsonBody)).substr(0, 12), "HTTP/1.1 200");
  EXPECT_GT(gateway->live_blocks(), 0u);
  shm::Released released;
  released.ticket = *ticket;
  core->send(released);
  expect_nothing_left();
}

TEST_F(InferTest, requests_that_core_never_sees) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {post(kJsonBody, "", "/v2/models/nope/infer"), "404"},
      {post(kJsonBody, "", "/v2/models/m/versions/9/infer"), "404"},
      {post(kJsonBody, "", "/v2/models/m/versions/99999999999999999999/infer"), "400"},
      {post("{", ""), "500"},
      {post(kJsonBody, "Inference-Header-Content-Length: 9999\r\n"), "400"},
      {post(kJsonBody, "Inference-Header-Content-Length: x\r\n"), "400"},
      {post(kJsonBody, "Content-Encoding: br\r\n"), "501"},
      {"GET /v2/models/m/infer HTTP/1.1\r\n\r\n", "405"},
  };
  Client client = connect();
  for (const auto& [request, status] : rows) {
    const std::string answer = exchange(&client, request);
    EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 " + status) << request << answer;
    EXPECT_EQ(body_of(answer).substr(0, 9), "{\"error\":") << answer;
  }
  EXPECT_TRUE(core->submits.empty());
  EXPECT_EQ(exchange(&client, post(kJsonBody)).substr(0, 12), "HTTP/1.1 200");
  expect_nothing_left();
}

TEST_F(InferTest, json_over_the_limit_is_refused_and_the_connection_lives) {
  GatewaySettings settings;
  settings.max_input_bytes = 100;
  start(settings);
  Client client = connect();
  const std::string body = kJsonBody + std::string(100, ' ');
  const std::string answer = exchange(&client, post(body));
  EXPECT_EQ(body_of(answer), "{\"error\":\"request JSON size of " + std::to_string(body.size()) +
                                 " bytes exceeds the maximum allowed input size of 100 bytes. Use "
                                 "--http-max-input-size to increase the limit.\"}");
  EXPECT_EQ(exchange(&client, post(kJsonBody)).substr(0, 12), "HTTP/1.1 200");
  expect_nothing_left();
}

TEST_F(InferTest, a_full_region_is_503_and_says_so) {
  const std::string head =
      "POST /v2/models/m/infer HTTP/1.1\r\nInference-Header-Content-Length: "
      "10\r\nContent-Length: " +
      std::to_string(kRegionBytes) + "\r\n\r\n";
  const std::string answer = exchange(head);
  EXPECT_TRUE(answer.empty()) << answer;  // it waits for the body, which is worth reading
  const std::string huge =
      "POST /v2/models/m/infer HTTP/1.1\r\nInference-Header-Content-Length: "
      "10\r\nContent-Length: " +
      std::to_string(kRegionBytes * 2) + "\r\n\r\n";
  const std::string refused = exchange(huge);
  EXPECT_EQ(refused.substr(0, 12), "HTTP/1.1 503");
  EXPECT_NE(refused.find("shared memory is full"), std::string::npos);
  expect_nothing_left();
}

TEST_F(InferTest, the_limit_of_requests_in_flight_is_503) {
  GatewaySettings settings;
  settings.max_inflight = 1;
  start(settings);
  core->on_submit = nullptr;
  Client one = connect();
  Client two = connect();
  EXPECT_EQ(exchange(&one, post(kJsonBody)), "");
  EXPECT_EQ(exchange(&two, post(kJsonBody)).substr(0, 12), "HTTP/1.1 503");
  core->answer(core->submits[0]);
  run();
  EXPECT_EQ(one.read().substr(0, 12), "HTTP/1.1 200");
  EXPECT_EQ(exchange(&two, post(kJsonBody)), "");
  core->answer(core->submits[1]);
  run();
  EXPECT_EQ(two.read().substr(0, 12), "HTTP/1.1 200");
  expect_nothing_left();
}

TEST_F(InferTest, a_client_that_leaves_is_cancelled_and_its_memory_kept_until_core_lets_go) {
  core->on_submit = nullptr;
  Client client = connect();
  EXPECT_EQ(exchange(&client, post(kJsonBody)), "");
  client.close();
  run();
  ASSERT_EQ(core->cancels.size(), 1u);
  EXPECT_EQ(core->cancels[0], core->submits[0].ticket);
  EXPECT_GT(gateway->live_blocks(), 0u);
  core->answer(core->submits[0]);
  expect_nothing_left();
}

TEST_F(InferTest, a_client_that_closes_its_half_gets_its_answer) {
  core->on_submit = nullptr;
  Client client = connect();
  client.send(post(kJsonBody));
  client.half_close();
  run();
  EXPECT_TRUE(core->cancels.empty());
  core->answer(core->submits[0]);
  run();
  EXPECT_EQ(client.read().substr(0, 12), "HTTP/1.1 200");
  EXPECT_TRUE(client.ended);
  expect_nothing_left();
}

TEST_F(InferTest, a_client_that_closed_its_half_long_ago_is_taken_for_gone) {
  core->on_submit = nullptr;
  run();  // its own first sweep is over
  Client client = connect();
  client.send(post(kJsonBody));
  client.half_close();
  run();
  EXPECT_TRUE(core->cancels.empty());
  gateway->sweep_at(gateway->now_s + 1);
  gateway->sweep_at(gateway->now_s + 2);
  run();
  EXPECT_EQ(core->cancels.size(), 1u);
  core->fail(core->submits[0], base::Code::kCancelled, "cancelled");
  run();
  EXPECT_EQ(client.read().substr(0, 12), "HTTP/1.1 400");
  expect_nothing_left();
}

TEST_F(InferTest, a_reply_for_nobody_is_handed_back) {
  shm::ResponseBuilder builder;
  core->reply(12345, builder.finish(), shm::kFinal);
  run();
  EXPECT_EQ(core->returns.size(), 1u);
  EXPECT_EQ(gateway->snapshot().bad_replies, 1u);
}

TEST_F(InferTest, replies_that_make_no_sense_are_errors_not_crashes) {
  Client client = connect();
  const std::vector<std::function<void(shm::Reply*)>> rows = {
      [](shm::Reply* reply) { reply->owner = 77; },
      [](shm::Reply* reply) { reply->table_offset = ~0ull; },
      [](shm::Reply* reply) { reply->table_bytes = 0xffffffff; },
      [](shm::Reply* reply) { reply->table_bytes = 3; },
      [](shm::Reply* reply) { reply->table_offset += 64; },
  };
  for (const auto& spoil : rows) {
    core->on_submit = [&](const shm::Submit& submit) {
      shm::Reply reply;
      reply.flags = shm::kFinal | shm::kReleasedFlag;
      reply.ticket = submit.ticket;
      reply.owner = kInstancePeer;
      reply.table_bytes = 24;
      reply.lease = 1;
      spoil(&reply);
      core->send(reply);
    };
    EXPECT_EQ(exchange(&client, post(kJsonBody)).substr(0, 10), "HTTP/1.1 5");
  }
  EXPECT_EQ(gateway->snapshot().inflight, 0u);
  EXPECT_EQ(gateway->live_blocks(), 0u);
}

TEST_F(InferTest, an_output_outside_its_region_is_an_error) {
  core->on_submit = [&](const shm::Submit& submit) {
    shm::ResponseBuilder builder;
    const int64_t shape[] = {4};
    builder.add_output("OUTPUT0", 0, base::Datatype::kFp32, shape,
                       {shm::Place::kRegion, kInstancePeer, kRegionBytes - 8, 16});
    core->reply(submit.ticket, builder.finish(), shm::kFinal | shm::kReleasedFlag);
  };
  EXPECT_EQ(exchange(post(kJsonBody)).substr(0, 12), "HTTP/1.1 500");
  expect_nothing_left();
}

TEST_F(InferTest, a_slow_reader_gets_all_of_a_large_answer) {
  const std::string content = floats(1u << 20);
  core->on_submit = [&](const shm::Submit& submit) { core->answer_with(submit, content); };
  Client client = connect();
  client.send(binary_post(floats(2)));
  run();
  EXPECT_EQ(core->returns.size(), 0u);  // the answer is not out yet
  for (int turn = 0; turn < 100000 && client.received.size() < content.size(); ++turn) {
    client.read(8192);
    gateway->turn(0);
  }
  run();
  EXPECT_TRUE(client.read().ends_with(content));
  expect_nothing_left();
}

TEST_F(InferTest, when_core_dies_everything_under_way_is_answered_503_at_once) {
  core->on_submit = nullptr;
  Client waiting = connect();
  Client receiving = connect();
  EXPECT_EQ(exchange(&waiting, post(kJsonBody)), "");
  const std::string request = post(kJsonBody);
  receiving.send(request.substr(0, request.size() - 5));
  run();
  gateway->core_lost();
  core.reset();
  EXPECT_EQ(waiting.read().substr(0, 12), "HTTP/1.1 503");
  receiving.send(request.substr(request.size() - 5));
  run();
  EXPECT_EQ(receiving.read().substr(0, 12), "HTTP/1.1 503");
  EXPECT_EQ(exchange(&waiting, post(kJsonBody)).substr(0, 12), "HTTP/1.1 503");
  meet_core();
  EXPECT_EQ(exchange(&waiting, post(kJsonBody)).substr(0, 12), "HTTP/1.1 200");
  EXPECT_EQ(exchange(&receiving, post(kJsonBody)).substr(0, 12), "HTTP/1.1 200");
  expect_nothing_left();
}

TEST_F(InferTest, an_answer_that_is_being_sent_survives_the_death_of_core) {
  const std::string content = floats(1u << 20);
  core->on_submit = [&](const shm::Submit& submit) { core->answer_with(submit, content); };
  Client client = connect();
  client.send(binary_post(floats(2)));
  run();
  gateway->core_lost();
  core.reset();
  for (int turn = 0; turn < 100000 && client.received.size() < content.size(); ++turn) {
    client.read();
    gateway->turn(0);
  }
  run();
  EXPECT_TRUE(client.read().ends_with(content));
  EXPECT_EQ(gateway->snapshot().inflight, 0u);
}

TEST_F(InferTest, retired_instances_are_noticed) {
  gateway->retire(kInstancePeer);
  const std::string answer = exchange(post(kJsonBody));
  EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 503");
}

}  // namespace
}  // namespace pyserver::gateway::testing
