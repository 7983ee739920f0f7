// gRPC through a gateway in this thread: messages, streams, refusals, clients that leave or do not read.
#include "gateway/h2_client.h"

namespace pyserver::gateway::testing {
namespace {

TEST_F(GrpcTest, a_request_is_answered_with_its_own_bytes) {
  H2Client client(connect());
  const auto answer = call(&client, infer_message(kData, "m", "7"));
  EXPECT_EQ(answer.status(), "0");
  EXPECT_EQ(answer.head.at(":status"), "200");
  EXPECT_NE(answer.data.find(kData), std::string::npos);
  EXPECT_TRUE(answer.closed);
  EXPECT_EQ(answer.error_code, NGHTTP2_NO_ERROR);
  expect_nothing_left();
}

TEST_F(GrpcTest, a_message_may_come_byte_by_byte) {
  H2Client client(connect());
  const int32_t id = client.open(kInfer);
  for (const char byte : framed(infer_message(kData))) {
    client.write(id, std::string_view(&byte, 1));
    gateway->turn(0);
  }
  client.write(id, {}, true);
  go(&client);
  EXPECT_EQ(client.answers[id].status(), "0");
  expect_nothing_left();
}

TEST_F(GrpcTest, many_requests_of_one_connection_are_under_way_at_once) {
  H2Client client(connect());
  std::vector<int32_t> ids;
  for (int count = 0; count < 100; ++count) {
    ids.push_back(client.open(kInfer));
    client.write(ids.back(), framed(infer_message(kData)), true);
  }
  go(&client);
  for (const int32_t id : ids) EXPECT_EQ(client.answers[id].status(), "0");
  expect_nothing_left();
}

TEST_F(GrpcTest, refusals_have_tritons_status_and_text) {
  serve_decoupled();
  H2Client client(connect());
  EXPECT_EQ(call(&client, infer_message(kData, "absent")).status(), "5");
  const auto decoupled = call(&client, infer_message(kData, "d"));
  EXPECT_EQ(decoupled.status(), "12");
  EXPECT_EQ(decoupled.message(),
            "ModelInfer RPC doesn't support models with decoupled transaction policy");
  EXPECT_EQ(call(&client, "\xff\xff\xff").status(), "13");
  core->on_submit = [this](const shm::Submit& submit) {
    core->fail(submit, base::Code::kUnavailable, "no % room");
  };
  const auto failed = call(&client, infer_message(kData));
  EXPECT_EQ(failed.status(), "14");
  EXPECT_EQ(failed.message(), "no %25 room");
  expect_nothing_left();
}

TEST_F(GrpcTest, what_is_no_grpc_is_refused_by_http_status) {
  H2Client client(connect());
  const int32_t id = client.open(kInfer, {{"grpc-encoding", "snappy"}});
  std::string message = framed(infer_message(kData));
  message[0] = 1;
  client.write(id, message, true);
  go(&client);
  EXPECT_EQ(client.answers[id].status(), "12");
  const int32_t cut = client.open(kInfer);
  client.write(cut, framed(infer_message(kData)).substr(0, 9), true);
  go(&client);
  EXPECT_EQ(client.answers[cut].status(), "13");
  const int32_t missing = client.open(kInfer);
  client.write(missing, {}, true);
  go(&client);
  EXPECT_EQ(client.answers[missing].status(), "13");
  expect_nothing_left();
}

TEST_F(GrpcTest, a_client_that_resets_cancels_its_request) {
  core->on_submit = nullptr;
  H2Client client(connect());
  const int32_t id = client.open(kInfer);
  client.write(id, framed(infer_message(kData)), true);
  go(&client);
  ASSERT_EQ(core->submits.size(), 1u);
  client.cancel(id);
  go(&client);
  EXPECT_EQ(core->cancels, std::vector<uint64_t>{core->submits[0].ticket});
  core->answer(core->submits[0]);
  go(&client);
  expect_nothing_left();
}

TEST_F(GrpcTest, a_client_that_vanishes_cancels_all_of_its_requests) {
  core->on_submit = nullptr;
  serve_decoupled();
  {
    H2Client client(connect());
    const int32_t id = client.open(kStream);
    client.write(id, framed(infer_message(kData)) + framed(infer_message(kData, "d")));
    const int32_t other = client.open(kInfer);
    client.write(other, framed(infer_message(kData)), true);
    go(&client);
    ASSERT_EQ(core->submits.size(), 3u);
  }
  run();
  EXPECT_EQ(core->cancels.size(), 3u);
  for (const shm::Submit& submit : core->submits) core->answer(submit);
  expect_nothing_left();
}

TEST_F(GrpcTest, a_lost_core_is_told_to_whoever_waits) {
  core->on_submit = nullptr;
  H2Client client(connect());
  const int32_t id = client.open(kInfer);
  client.write(id, framed(infer_message(kData)), true);
  const int32_t stream = client.open(kStream);
  client.write(stream, framed(infer_message(kData)));
  go(&client);
  gateway->core_lost();
  core.reset();
  go(&client);
  EXPECT_EQ(client.answers[id].status(), "14");
  EXPECT_NE(client.answers[stream].data.find("core process ended"), std::string::npos);
  meet_core();
  EXPECT_EQ(call(&client, infer_message(kData)).status(), "0");
  expect_nothing_left();
}

TEST_F(GrpcTest, a_stream_answers_in_the_order_of_its_requests) {
  core->on_submit = nullptr;
  H2Client client(connect());
  const int32_t id = client.open(kStream);
  for (const char* name : {"first", "second", "third"})
    client.write(id, framed(infer_message(kData, "m", name)));
  client.write(id, {}, true);
  go(&client);
  ASSERT_EQ(core->submits.size(), 3u);
  core->answer(core->submits[2]);
  core->answer(core->submits[1]);
  go(&client);
  EXPECT_TRUE(client.answers[id].data.empty());
  core->answer(core->submits[0]);
  go(&client);
  const std::string& data = client.answers[id].data;
  EXPECT_LT(data.find("first"), data.find("second"));
  EXPECT_LT(data.find("second"), data.find("third"));
  EXPECT_EQ(client.answers[id].status(), "0");
  expect_nothing_left();
}

TEST_F(GrpcTest, a_decoupled_model_answers_at_once_and_as_often_as_it_likes) {
  core->on_submit = nullptr;
  serve_decoupled();
  H2Client client(connect());
  const int32_t id = client.open(kStream);
  client.write(
      id, framed(infer_message(kData, "m", "slow")) + framed(infer_message(kData, "d", "quick")));
  go(&client);
  core->answer(core->submits[1], 0);
  core->answer(core->submits[1], 0);
  go(&client);
  std::string& data = client.answers[id].data;
  EXPECT_NE(data.find("quick", data.find("quick") + 1), std::string::npos);
  EXPECT_EQ(data.find("slow"), std::string::npos);
  final_without_tensors(core->submits[1].ticket);
  core->answer(core->submits[0]);
  client.write(id, {}, true);
  go(&client);
  EXPECT_EQ(client.answers[id].status(), "0");
  expect_nothing_left();
}

TEST_F(GrpcTest, errors_within_a_stream_do_not_end_it_unless_it_is_strict) {
  H2Client client(connect());
  const int32_t id = client.open(kStream);
  client.write(id, framed(infer_message(kData, "absent")) + framed(infer_message(kData)), true);
  go(&client);
  EXPECT_NE(client.answers[id].data.find("unknown model"), std::string::npos);
  EXPECT_EQ(client.answers[id].status(), "0");
  const int32_t strict = client.open(kStream, {{"triton_grpc_error", "true"}});
  client.write(strict, framed(infer_message(kData, "absent")));
  go(&client);
  EXPECT_EQ(client.answers[strict].status(), "5");
  EXPECT_TRUE(client.answers[strict].closed);
  expect_nothing_left();
}

TEST_F(GrpcTest, a_drained_connection_ends_with_its_last_answer) {
  core->on_submit = nullptr;
  H2Client client(connect());
  const int32_t id = client.open(kInfer);
  client.write(id, framed(infer_message(kData)), true);
  go(&client);
  bool drained = false;
  gateway->drain([&drained] { drained = true; });
  go(&client);
  EXPECT_EQ(client.goaways, std::vector<uint32_t>{NGHTTP2_NO_ERROR});
  EXPECT_FALSE(drained);
  core->answer(core->submits[0]);
  go(&client);
  EXPECT_EQ(client.answers[id].status(), "0");
  EXPECT_TRUE(drained);
  EXPECT_TRUE(client.client().ended);
}

TEST_F(GrpcTest, streams_end_with_the_server_when_nothing_is_under_way_in_them) {
  core->on_submit = nullptr;
  H2Client client(connect());
  const int32_t idle = client.open(kStream);
  const int32_t busy = client.open(kStream);
  client.write(busy, framed(infer_message(kData)));
  const int32_t half_closed = client.open(kStream);
  client.write(half_closed, framed(infer_message(kData)), true);
  go(&client);
  ASSERT_EQ(core->submits.size(), 2u);
  bool drained = false;
  gateway->drain([&drained] { drained = true; });
  go(&client);
  EXPECT_FALSE(client.answers[idle].closed);
  gateway->end_streams();
  go(&client);
  EXPECT_EQ(client.answers[idle].status(), "14");
  EXPECT_FALSE(client.answers[busy].closed);
  for (const shm::Submit& submit : core->submits) core->answer(submit);
  go(&client);
  EXPECT_EQ(client.answers[busy].status(), "14");
  EXPECT_FALSE(client.answers[busy].data.empty());
  EXPECT_EQ(client.answers[half_closed].status(), "0");
  gateway->sweep_at(gateway->now_s + 1);
  go(&client);
  EXPECT_TRUE(drained);
}

TEST_F(GrpcTest, an_overdue_call_ends_and_is_cancelled) {
  core->on_submit = nullptr;
  H2Client client(connect());
  const int32_t id = client.open(kInfer, {{"grpc-timeout", "1n"}});
  client.write(id, framed(infer_message(kData)), true);
  go(&client);
  gateway->sweep_at(gateway->now_s + 1);
  go(&client);
  EXPECT_EQ(client.answers[id].status(), "4");
  EXPECT_EQ(core->cancels.size(), 1u);
  core->answer(core->submits[0]);
  expect_nothing_left();
}

TEST_F(GrpcTest, a_message_that_stops_in_the_middle_gives_its_memory_back) {
  H2Client client(connect());
  const int32_t id = client.open(kInfer);
  client.write(id, framed(infer_message(kData)).substr(0, 20));
  go(&client);
  EXPECT_GT(gateway->live_blocks(), 0u);
  gateway->sweep_at(gateway->now_s + gateway->settings.body_timeout_s);
  go(&client);
  EXPECT_EQ(client.answers[id].status(), "4");
  expect_nothing_left();
}

TEST_F(GrpcTest, a_silent_client_is_pinged_and_then_given_up) {
  GatewaySettings settings;
  settings.grpc.keepalive_s = 10;
  settings.grpc.keepalive_timeout_s = 5;
  settings.grpc.keepalive_without_calls = true;
  start(settings);
  H2Client client(connect());
  go(&client);
  const uint32_t now = gateway->now_s;
  gateway->sweep_at(now + 11);
  go(&client);  // it answers
  gateway->sweep_at(now + 17);
  go(&client);
  EXPECT_FALSE(client.client().ended);
  gateway->sweep_at(now + 30);
  gateway->turn(0);  // it does not
  gateway->sweep_at(now + 36);
  go(&client);
  EXPECT_TRUE(client.client().ended);
}

TEST_F(GrpcTest, a_connection_of_full_age_takes_no_new_calls) {
  GatewaySettings settings;
  settings.grpc.max_age_s = 10;
  start(settings);
  core->on_submit = nullptr;
  H2Client client(connect());
  const int32_t id = client.open(kInfer);
  client.write(id, framed(infer_message(kData)), true);
  go(&client);
  gateway->sweep_at(gateway->now_s + 10);
  go(&client);
  EXPECT_EQ(client.goaways, std::vector<uint32_t>{NGHTTP2_NO_ERROR});
  core->answer(core->submits[0]);
  go(&client);
  EXPECT_EQ(client.answers[id].status(), "0");
  EXPECT_TRUE(client.client().ended);
  expect_nothing_left();
}

TEST_F(GrpcTest, too_many_pings_end_the_connection) {
  H2Client client(connect());
  go(&client);
  for (int count = 0; count < 5; ++count) {
    client.ping();
    go(&client, 2);
  }
  ASSERT_FALSE(client.goaways.empty());
  EXPECT_EQ(client.goaways[0], uint32_t{NGHTTP2_ENHANCE_YOUR_CALM});
  EXPECT_TRUE(client.client().ended);
}

TEST_F(GrpcTest, a_head_that_is_too_large_ends_only_its_stream) {
  H2Client client(connect());
  const int32_t id = client.open(
      kInfer, {{"x-large", std::string(60000, 'x')}, {"x-more", std::string(60000, 'y')}});
  go(&client);
  EXPECT_TRUE(client.answers[id].closed);
  EXPECT_EQ(client.answers[id].status(), "8");
  EXPECT_EQ(call(&client, infer_message(kData)).status(), "0");
  expect_nothing_left();
}

TEST_F(GrpcTest, a_client_that_does_not_read_holds_only_what_it_asked_for) {
  H2Client client(connect(), false);
  const std::string data(1u << 20, 'x');
  const int32_t id = client.open(kInfer);
  client.write(id, framed(infer_message(data)), true);
  go(&client, 200);
  EXPECT_FALSE(client.answers[id].closed);
  EXPECT_GT(gateway->live_blocks(), 0u);
  client.cancel(id);
  go(&client);
  expect_nothing_left();
}

TEST_F(GrpcTest, the_preface_may_come_in_pieces) {
  Client client = connect();
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  for (const char byte : preface) {
    client.send({&byte, 1});
    gateway->turn(0);
  }
  client.send(std::string("\0\0\0\4\0\0\0\0\0", 9));
  run();
  EXPECT_GT(client.read().size(), 9u);
  EXPECT_EQ(client.received[3], 4);  // SETTINGS
  EXPECT_EQ(gateway->snapshot().malformed, 0u);
}

TEST_F(GrpcTest, without_grpc_the_preface_is_a_bad_request) {
  GatewaySettings settings;
  settings.grpc.serve = false;
  start(settings);
  const std::string answer = exchange("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 400"));
}

TEST_F(GrpcTest, without_http_a_request_of_http_is_refused_unread) {
  GatewaySettings settings;
  settings.serve_http = false;
  start(settings);
  for (const std::string request :
       {"GET /v2/health/live HTTP/1.1\r\n\r\n", "P", "PRI * HTTP/1.1\r\n\r\n", "\x16\x03\x01"}) {
    Client client = connect();
    // One byte may still be the beginning of the preface.
    const std::string answer = exchange(&client, request + "x");
    EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 400") << request;
    EXPECT_EQ(body_of(answer), R"({"error":"HTTP is not served here, only gRPC"})");
    EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos);
  }
  H2Client client(connect());
  EXPECT_EQ(call(&client, infer_message(kData)).status(), "0");
  expect_nothing_left();
}

TEST_F(GrpcTest, without_http_the_preface_may_come_byte_by_byte) {
  GatewaySettings settings;
  settings.serve_http = false;
  start(settings);
  Client client = connect();
  for (const char byte : std::string_view("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")) {
    client.send(std::string_view(&byte, 1));
    gateway->turn(0);
  }
  run();
  EXPECT_FALSE(client.read().empty());  // our SETTINGS
  EXPECT_FALSE(client.received.starts_with("HTTP/1.1"));
}

}  // namespace
}  // namespace pyserver::gateway::testing
