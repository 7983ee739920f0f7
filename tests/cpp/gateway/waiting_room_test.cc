// Requests for models that are not loaded: they wait, bounded, until core says what has become of their model.
#include "gateway/h2_client.h"

namespace pyserver::gateway::testing {
namespace {

std::string loadable(const std::string& name) {
  return R"({"op":"model","name":")" + name + R"(","versions":[],"loadable":true})";
}

std::string ready(const std::string& name, const std::string& base, bool decoupled = false) {
  std::string entry = base;
  entry.replace(entry.find(R"("name":"m")"), 10, R"("name":")" + name + '"');
  if (decoupled) entry.replace(entry.find(R"("decoupled":false)"), 17, R"("decoupled":true)");
  return entry;
}

class WaitingRoomTest : public GrpcTest {
 protected:
  void SetUp() override { begin({}); }

  void begin(const GatewaySettings& settings) {
    start(settings);
    EXPECT_OK(gateway->apply_model(loadable("cold")));
    gateway->on_want([this](const std::string& name) { wants.push_back(name); });
  }

  void load(bool decoupled = false) {
    EXPECT_OK(gateway->apply_model(ready("cold", kModel, decoupled)));
  }

  static std::string cold_post(const std::string& path = "/v2/models/cold/infer") {
    return post(kJsonBody, "", path);
  }

  // Time, as far as the gateway's sweeps go.
  void pass(uint32_t seconds) {
    gateway->sweep_at(gateway->now_s + seconds);
    run(2);
  }

  void expect_nobody_waits() {
    EXPECT_EQ(gateway->snapshot().parked, 0u);
    expect_nothing_left();
  }

  std::vector<std::string> wants;
};

TEST_F(WaitingRoomTest, a_request_waits_for_its_model_and_is_answered) {
  Client client = connect();
  EXPECT_EQ(exchange(&client, cold_post()), "");
  EXPECT_EQ(wants, std::vector<std::string>{"cold"});
  EXPECT_EQ(gateway->snapshot().parked, 1u);
  load();
  run();
  EXPECT_EQ(client.read().substr(0, 15), "HTTP/1.1 200 OK");
  EXPECT_EQ(exchange(&client, post(kJsonBody)).substr(0, 15), "HTTP/1.1 200 OK");
  expect_nobody_waits();
}

TEST_F(WaitingRoomTest, core_is_asked_once_for_all_who_wait) {
  std::vector<Client> clients;
  for (int count = 0; count < 50; ++count) {
    clients.push_back(connect());
    clients.back().send(cold_post());
  }
  H2Client h2(connect());
  const int32_t unary = h2.open(kInfer);
  h2.write(unary, framed(infer_message(kData, "cold")), true);
  go(&h2, 30);
  EXPECT_EQ(wants.size(), 1u);
  EXPECT_EQ(gateway->snapshot().parked, 51u);
  load();
  go(&h2, 60);
  for (Client& client : clients) EXPECT_EQ(client.read().substr(0, 15), "HTTP/1.1 200 OK");
  EXPECT_EQ(h2.answers[unary].status(), "0");
  EXPECT_EQ(wants.size(), 1u);
  expect_nobody_waits();
}

TEST_F(WaitingRoomTest, a_load_that_failed_is_told_to_all_and_the_next_request_asks_again) {
  Client client = connect();
  exchange(&client, cold_post());
  H2Client h2(connect());
  const int32_t unary = h2.open(kInfer);
  h2.write(unary, framed(infer_message(kData, "cold")), true);
  go(&h2);
  gateway->refuse_model("cold", base::unavailable("no such library"));
  go(&h2);
  const std::string& answer = client.read();
  EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 503");
  EXPECT_EQ(body_of(answer), R"({"error":"no such library"})");
  EXPECT_EQ(h2.answers[unary].status(), "14");
  EXPECT_EQ(h2.answers[unary].message(), "no such library");
  EXPECT_EQ(wants.size(), 1u);
  client.received.clear();
  exchange(&client, cold_post());
  EXPECT_EQ(wants.size(), 2u);
  load();
  run();
  EXPECT_EQ(client.read().substr(0, 15), "HTTP/1.1 200 OK");
  expect_nobody_waits();
}

TEST_F(WaitingRoomTest, what_is_no_model_or_no_version_is_refused_with_the_usual_text) {
  EXPECT_EQ(exchange(post(kJsonBody, "", "/v2/models/absent/infer")).substr(0, 12), "HTTP/1.1 404");
  EXPECT_EQ(
      exchange(cold_post("/v2/models/cold/versions/99999999999999999999/infer")).substr(0, 12),
      "HTTP/1.1 400");
  EXPECT_TRUE(wants.empty());
  Client client = connect();
  exchange(&client, cold_post("/v2/models/cold/versions/7/infer"));
  EXPECT_EQ(wants.size(), 1u);
  load();
  run();
  EXPECT_EQ(body_of(client.read()),
            R"({"error":"Request for unknown model: 'cold' version 7 is not found"})");
  expect_nobody_waits();
}

TEST_F(WaitingRoomTest, a_decoupled_model_is_refused_where_it_is_not_served_once_that_is_known) {
  Client client = connect();
  exchange(&client, cold_post());
  H2Client h2(connect());
  const int32_t unary = h2.open(kInfer);
  h2.write(unary, framed(infer_message(kData, "cold")), true);
  go(&h2);
  load(true);
  go(&h2);
  EXPECT_EQ(client.read().substr(0, 12), "HTTP/1.1 501");
  EXPECT_EQ(h2.answers[unary].status(), "12");
  expect_nobody_waits();
}

TEST_F(WaitingRoomTest, a_stream_goes_on_with_other_models_and_keeps_its_order) {
  H2Client h2(connect());
  const int32_t id = h2.open(kStream);
  h2.write(id, framed(infer_message(kData, "cold", "first")));
  h2.write(id, framed(infer_message(kData, "m", "second")));
  go(&h2);
  EXPECT_EQ(core->submits.size(), 1u);
  EXPECT_EQ(h2.answers[id].data, "");
  load();
  go(&h2);
  const std::string& data = h2.answers[id].data;
  ASSERT_NE(data.find("first"), std::string::npos);
  EXPECT_LT(data.find("first"), data.find("second"));
  h2.write(id, {}, true);
  go(&h2);
  EXPECT_EQ(h2.answers[id].status(), "0");
  expect_nobody_waits();
}

TEST_F(WaitingRoomTest, a_decoupled_model_that_was_waited_for_holds_up_no_other_answer) {
  core->on_submit = nullptr;
  H2Client h2(connect());
  const int32_t id = h2.open(kStream);
  h2.write(id, framed(infer_message(kData, "cold", "first")));
  h2.write(id, framed(infer_message(kData, "m", "second")));
  go(&h2);
  ASSERT_EQ(core->submits.size(), 1u);
  core->answer(core->submits[0]);
  go(&h2);
  EXPECT_EQ(h2.answers[id].data, "");  // the first may still turn out to need its place
  load(true);
  go(&h2);
  EXPECT_NE(h2.answers[id].data.find("second"), std::string::npos);
  ASSERT_EQ(core->submits.size(), 2u);
  core->answer(core->submits[1]);
  h2.write(id, {}, true);
  go(&h2);
  EXPECT_NE(h2.answers[id].data.find("first"), std::string::npos);
  EXPECT_EQ(h2.answers[id].status(), "0");
  expect_nobody_waits();
}

TEST_F(WaitingRoomTest, a_stream_hears_of_a_failed_load_and_lives_on) {
  H2Client h2(connect());
  const int32_t id = h2.open(kStream);
  for (const char* which : {"one", "two"})
    h2.write(id, framed(infer_message(kData, "cold", which)));
  go(&h2);
  EXPECT_EQ(gateway->snapshot().parked, 2u);
  gateway->refuse_model("cold", base::unavailable("no such library"));
  go(&h2);
  EXPECT_NE(h2.answers[id].data.find("no such library"), std::string::npos);
  EXPECT_FALSE(h2.answers[id].closed);
  h2.write(id, framed(infer_message(kData, "m", "three")), true);
  go(&h2);
  EXPECT_NE(h2.answers[id].data.find("three"), std::string::npos);
  EXPECT_EQ(h2.answers[id].status(), "0");
  expect_nobody_waits();
}

TEST_F(WaitingRoomTest, a_stream_that_ends_with_the_first_error_lets_all_others_go) {
  H2Client h2(connect());
  const int32_t id = h2.open(kStream, {{"triton_grpc_error", "true"}});
  for (const char* which : {"one", "two", "three"})
    h2.write(id, framed(infer_message(kData, "cold", which)));
  go(&h2);
  gateway->refuse_model("cold", base::unavailable("no such library"));
  go(&h2);
  EXPECT_EQ(h2.answers[id].status(), "14");
  expect_nobody_waits();
}

TEST_F(WaitingRoomTest, clients_that_leave_while_they_wait_leave_nothing_behind) {
  Client closed = connect();
  exchange(&closed, cold_post());
  {
    H2Client h2(connect());
    const int32_t unary = h2.open(kInfer);
    h2.write(unary, framed(infer_message(kData, "cold")), true);
    const int32_t stream = h2.open(kStream);
    h2.write(stream, framed(infer_message(kData, "cold")));
    const int32_t reset = h2.open(kInfer);
    h2.write(reset, framed(infer_message(kData, "cold")), true);
    go(&h2);
    EXPECT_EQ(gateway->snapshot().parked, 4u);
    h2.cancel(reset);
    go(&h2);
    EXPECT_EQ(gateway->snapshot().parked, 3u);
  }
  closed.close();
  run();
  expect_nobody_waits();
  load();
  run();
  EXPECT_TRUE(core->submits.empty());
}

TEST_F(WaitingRoomTest, a_deadline_ends_the_wait) {
  H2Client h2(connect());
  const int32_t id = h2.open(kInfer, {{"grpc-timeout", "1m"}});
  h2.write(id, framed(infer_message(kData, "cold")), true);
  for (int turn = 0; turn < 2000 && !h2.answers[id].closed; ++turn) go(&h2, 1);
  EXPECT_EQ(h2.answers[id].status(), "4");
  load();
  go(&h2);
  expect_nobody_waits();
}

TEST_F(WaitingRoomTest, who_has_waited_too_long_is_told_so) {
  GatewaySettings settings;
  settings.load_timeout_s = 10;
  begin(settings);
  Client client = connect();
  exchange(&client, cold_post());
  pass(9);
  EXPECT_EQ(client.read(), "");
  pass(11);
  EXPECT_EQ(client.read().substr(0, 12), "HTTP/1.1 503");
  EXPECT_NE(client.read().find("was not loaded within 10 s"), std::string::npos);
  client.received.clear();
  exchange(&client, cold_post());
  EXPECT_EQ(wants.size(), 2u);
  load();
  run();
  EXPECT_EQ(client.read().substr(0, 15), "HTTP/1.1 200 OK");
  expect_nobody_waits();
}

TEST_F(WaitingRoomTest, the_count_and_the_bytes_of_those_who_wait_are_bounded) {
  GatewaySettings settings;
  settings.max_parked = 2;
  begin(settings);
  Client first = connect();
  Client second = connect();
  exchange(&first, cold_post());
  exchange(&second, cold_post());
  const std::string refused = exchange(cold_post());
  EXPECT_EQ(refused.substr(0, 12), "HTTP/1.1 503");
  EXPECT_NE(refused.find("too many requests wait for models"), std::string::npos);
  first.close();
  run();
  Client large = connect();
  const std::string big(kRegionBytes / 4, ' ');
  EXPECT_NE(exchange(&large, post(kJsonBody + big,
                                  "Inference-Header-Content-Length: " +
                                      std::to_string(strlen(kJsonBody)) + "\r\n",
                                  "/v2/models/cold/infer"))
                .find("requests that wait for models hold"),
            std::string::npos);
  load();
  run();
  EXPECT_EQ(second.read().substr(0, 15), "HTTP/1.1 200 OK");
  expect_nobody_waits();
}

TEST_F(WaitingRoomTest, an_exit_and_the_death_of_core_end_the_wait) {
  Client client = connect();
  exchange(&client, cold_post());
  gateway->core_lost();
  core.reset();
  run();
  EXPECT_EQ(client.read().substr(0, 12), "HTTP/1.1 503");
  EXPECT_EQ(gateway->snapshot().parked, 0u);
  meet_core();
  EXPECT_OK(gateway->apply_model(loadable("cold")));
  client.received.clear();
  exchange(&client, cold_post());
  H2Client h2(connect());
  const int32_t stream = h2.open(kStream);
  h2.write(stream, framed(infer_message(kData, "cold")));
  go(&h2);
  bool drained = false;
  gateway->drain([&] { drained = true; });
  go(&h2);
  EXPECT_EQ(body_of(client.read()), R"({"error":"Server exiting"})");
  EXPECT_NE(h2.answers[stream].data.find("Server exiting"), std::string::npos);
  h2.write(stream, framed(infer_message(kData, "cold")));  // refused as well
  go(&h2);
  EXPECT_EQ(gateway->snapshot().parked, 0u);
  gateway->end_streams();
  go(&h2);
  EXPECT_TRUE(drained);
  expect_nobody_waits();
}

TEST_F(WaitingRoomTest, a_model_that_is_unloaded_while_a_body_arrives_is_found_anew) {
  Client client = connect();
  const std::string request = post(kJsonBody);
  client.send(request.substr(0, request.size() - 5));
  run();
  EXPECT_OK(gateway->apply_model(loadable("m")));
  client.send(request.substr(request.size() - 5));
  run();
  EXPECT_EQ(wants, std::vector<std::string>{"m"});
  EXPECT_TRUE(core->submits.empty());
  std::string again = kModel;
  again.replace(again.find("\"handle\":5"), 10, "\"handle\":6");
  EXPECT_OK(gateway->apply_model(again));
  run();
  EXPECT_EQ(client.read().substr(0, 15), "HTTP/1.1 200 OK");
  ASSERT_EQ(core->submits.size(), 1u);
  EXPECT_EQ(core->submits[0].model, 6u);
  expect_nobody_waits();
}

}  // namespace
}  // namespace pyserver::gateway::testing
