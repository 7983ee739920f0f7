// Requests that the gateway hands to the control plane: the other end of each socket pair is the test.
#include "gateway/harness.h"

namespace pyserver::gateway::testing {
namespace {

class ProxyTest : public GatewayTest {
 protected:
  // Core's end of the connection that was handed over last.
  std::unique_ptr<Client> upstream() {
    base::UniqueFd fd = core->take_proxy();
    return fd.valid() ? std::make_unique<Client>(fd.release()) : nullptr;
  }

  // Sends a request and takes the connection on which it arrives at core.
  std::unique_ptr<Client> forward(Client* client, const std::string& request) {
    client->send(request);
    run();
    return upstream();
  }
};

TEST_F(ProxyTest, head_and_body_travel_without_what_concerns_one_connection_only) {
  Client client = connect();
  const auto up = forward(&client,
                          "POST /v2/repository/index?a=%20b HTTP/1.1\r\nHost: here\r\nConnection: "
                          "keep-alive, X\r\nKeep-Alive: 5\r\n"
                          "TE: trailers\r\nUpgrade: h2c\r\nExpect: 100-continue\r\nX-One: "
                          "1\r\nContent-Length: 4\r\n\r\n");
  ASSERT_NE(up, nullptr);
  EXPECT_EQ(client.read(), "HTTP/1.1 100 Continue\r\n\r\n");
  client.received.clear();
  client.send("body");
  run();
  EXPECT_EQ(up->read(),
            "POST /v2/repository/index?a=%20b HTTP/1.1\r\nHost: here\r\nX-One: "
            "1\r\nContent-Length: 4\r\n\r\nbody");
  up->send(
      "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nServer: s\r\nKeep-Alive: "
      "3\r\nContent-Length: 2\r\n\r\n{}");
  run();
  EXPECT_EQ(
      client.read(),
      "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
}

TEST_F(ProxyTest, connections_to_core_are_used_again) {
  Client client = connect();
  const std::string request = "GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n";
  const auto up = forward(&client, request);
  ASSERT_NE(up, nullptr);
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(up->read(), request);
    up->received.clear();
    up->send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    run();
    EXPECT_EQ(client.read(), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    client.received.clear();
    EXPECT_EQ(forward(&client, request), nullptr);
  }
  // An end that comes between two requests is noticed.
  up->send("HTTP/1.1 204 No Content\r\n\r\n");
  run();
  EXPECT_EQ(client.read(), "HTTP/1.1 204 No Content\r\n\r\n");
  up->close();
  run();
  EXPECT_NE(forward(&client, request), nullptr);
}

TEST_F(ProxyTest, answers_of_every_framing) {
  struct Row {
    std::string request;
    std::string answer;
    std::string expected;
  };
  const std::string get = "GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n";
  const std::vector<Row> rows = {
      {get,
       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: "
       "t\r\n\r\n",
       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"},
      {"GET /v2 HTTP/1.0\r\n\r\n",
       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
       "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"},
      {"HEAD /v2 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
       "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"},
      {get, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
       "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
      {get, "HTTP/1.1 304 Not Modified\r\nETag: a\r\n\r\n",
       "HTTP/1.1 304 Not Modified\r\nETag: a\r\n\r\n"},
      {"GET /v2 HTTP/1.1\r\nConnection: close\r\n\r\n",
       "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
       "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na"},
  };
  for (const Row& row : rows) {
    for (const bool piecewise : {false, true}) {
      start();
      Client client = connect();
      const auto up = forward(&client, row.request);
      ASSERT_NE(up, nullptr);
      if (piecewise) {
        for (const char byte : row.answer) {
          up->send({&byte, 1});
          run(2);
        }
      } else {
        up->send(row.answer);
      }
      run();
      std::string got = client.read();
      if (piecewise && row.expected.find("chunked") != std::string::npos) {
        EXPECT_TRUE(got.ends_with("1\r\ne\r\n0\r\n\r\n")) << got;
      } else {
        EXPECT_EQ(got, row.expected);
      }
    }
  }
}

TEST_F(ProxyTest, an_answer_may_last_until_core_closes) {
  Client client = connect();
  auto up = forward(&client, "GET /v2 HTTP/1.1\r\n\r\n");
  up->send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it");
  run();
  up.reset();
  run();
  EXPECT_EQ(client.read(),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nall of it\r\n0\r\n\r\n");
  EXPECT_FALSE(client.ended);
}

TEST_F(ProxyTest, chunked_uploads_stay_chunked) {
  Client client = connect();
  const auto up = forward(
      &client,
      "POST /v2/repository/index HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  run();
  client.send("5;e\r\nhello\r\n0\r\n\r\n");
  run();
  EXPECT_EQ(up->read(),
            "POST /v2/repository/index HTTP/1.1\r\nHost: pyserver\r\nTransfer-Encoding: "
            "chunked\r\n\r\n3\r\nabc\r\n5\r\nhello\r\n0\r\n\r\n");
}

TEST_F(ProxyTest, streams_arrive_as_they_come) {
  Client client = connect();
  const auto up =
      forward(&client, "POST /v2/models/m/generate_stream HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}");
  up->send(
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: "
      "chunked\r\n\r\n");
  run();
  EXPECT_NE(client.read().find("text/event-stream"), std::string::npos);
  for (int event = 0; event < 3; ++event) {
    client.received.clear();
    up->send("9\r\ndata: {}\n\r\n");
    run();
    EXPECT_EQ(client.read(), "9\r\ndata: {}\n\r\n");
  }
  // The client has enough: core sees the end of its connection.
  client.close();
  run();
  up->read();
  EXPECT_TRUE(up->ended);
}

TEST_F(ProxyTest, large_bodies_flow_in_both_directions_without_piling_up) {
  Client client = connect();
  const std::string body(8 << 20, 'b');
  const std::string request =
      "POST /v2/repository/index HTTP/1.1\r\nContent-Length: " + std::to_string(body.size()) +
      "\r\n\r\n" + body;
  size_t sent = 0;
  for (int turn = 0; turn < 100; ++turn) {
    sent += client.send_some(std::string_view(request).substr(sent));
    gateway->turn(0);
  }
  EXPECT_LT(sent, 2u << 20);  // core does not read, so the client is stopped
  const auto up = upstream();
  for (int turn = 0; turn < 100000 && up->received.size() < body.size(); ++turn) {
    sent += client.send_some(std::string_view(request).substr(sent));
    gateway->turn(0);
    up->read();
  }
  run();
  EXPECT_TRUE(up->read().ends_with(body));
  const std::string answer =
      "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  sent = 0;
  for (int turn = 0; turn < 100; ++turn) {
    sent += up->send_some(std::string_view(answer).substr(sent));
    gateway->turn(0);
  }
  EXPECT_LT(sent, 2u << 20);
  for (int turn = 0; turn < 100000 && client.received.size() < body.size(); ++turn) {
    sent += up->send_some(std::string_view(answer).substr(sent));
    gateway->turn(0);
    client.read();
  }
  run();
  EXPECT_TRUE(client.read().ends_with(body));
}

TEST_F(ProxyTest, an_early_answer_ends_the_connection_after_it) {
  Client client = connect();
  const auto up =
      forward(&client, "POST /v2/repository/index HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc");
  up->send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
  run();
  EXPECT_EQ(client.read(),
            "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
  client.send(std::string(500, 'x'));
  client.half_close();
  run();
  EXPECT_EQ(gateway->snapshot().connections_open, 0u);
}

TEST_F(ProxyTest, when_core_hangs_up_the_client_is_told) {
  Client client = connect();
  auto up = forward(&client, "GET /v2 HTTP/1.1\r\n\r\n");
  up.reset();
  run();
  EXPECT_EQ(client.read().substr(0, 12), "HTTP/1.1 503");
  // In the middle of an answer only a cut can tell.
  Client other = connect();
  up = forward(&other, "GET /v2 HTTP/1.1\r\n\r\n");
  up->send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
  run();
  up.reset();
  run();
  EXPECT_TRUE(other.read().ends_with("half"));
  EXPECT_TRUE(other.ended);
}

TEST_F(ProxyTest, nonsense_of_core_is_503) {
  Client client = connect();
  const auto up = forward(&client, "GET /v2 HTTP/1.1\r\n\r\n");
  up->send("what?\r\n\r\n");
  run();
  EXPECT_EQ(client.read().substr(0, 12), "HTTP/1.1 503");
}

TEST_F(ProxyTest, the_death_of_core_answers_503_and_a_new_core_serves_again) {
  Client client = connect();
  const auto up = forward(&client, "GET /v2 HTTP/1.1\r\n\r\n");
  gateway->core_lost();
  run();
  EXPECT_EQ(client.read().substr(0, 12), "HTTP/1.1 503");
  EXPECT_EQ(exchange(&client, "GET /v2 HTTP/1.1\r\n\r\n").substr(0, 12), "HTTP/1.1 503");
  EXPECT_EQ(exchange(&client, "GET /v2/health/live HTTP/1.1\r\n\r\n").substr(0, 12),
            "HTTP/1.1 200");
  meet_core();
  client.received.clear();
  const auto again = forward(&client, "GET /v2 HTTP/1.1\r\n\r\n");
  ASSERT_NE(again, nullptr);
  again->send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  run();
  EXPECT_EQ(client.read().substr(0, 12), "HTTP/1.1 200");
}

TEST_F(ProxyTest, bodies_over_the_limit_do_not_reach_core) {
  GatewaySettings settings;
  settings.max_input_bytes = 10;
  start(settings);
  Client client = connect();
  EXPECT_EQ(forward(&client,
                    "POST /v2/repository/index HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello world"),
            nullptr);
  EXPECT_EQ(client.read().substr(0, 12), "HTTP/1.1 400");
}

TEST_F(ProxyTest, pipelined_requests_change_sides) {
  Client client = connect();
  const auto up = forward(&client, "GET /v2/models/a HTTP/1.1\r\n\r\n" + post(kJsonBody) +
                                       "GET /v2/models/b HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(core->submits.empty());
  up->send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
  run();
  EXPECT_EQ(core->submits.size(), 1u);
  up->send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb");
  run();
  const std::string answers = client.read();
  EXPECT_LT(answers.find("\r\n\r\na"), answers.find("OUTPUT0"));
  EXPECT_TRUE(answers.ends_with("\r\n\r\nb"));
}

}  // namespace
}  // namespace pyserver::gateway::testing
