// Connections over time: listening, time-outs, limits, draining.
#include <arpa/inet.h>
#include <netinet/in.h>

#include "gateway/harness.h"

namespace pyserver::gateway::testing {
namespace {

class LifeTest : public GatewayTest {
 protected:
  // The gateway's clock only moves with its turns, so time is let pass by sweeping with a later second.
  void pass(uint32_t seconds) {
    later_ += seconds;
    gateway->sweep_at(gateway->now_s + later_);
    run(2);
  }

  void SetUp() override {
    GatewaySettings settings;
    settings.idle_timeout_s = 100;
    settings.head_timeout_s = 10;
    settings.body_timeout_s = 20;
    settings.write_timeout_s = 30;
    settings.linger_timeout_s = 5;
    start(settings);
  }

  uint32_t later_ = 0;
};

struct Listening {
  base::UniqueFd fd;
  sockaddr_in address{};

  Listening() : fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    socklen_t size = sizeof address;
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  }

  Client connect() const {
    const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return Client(client);
  }
};

TEST_F(LifeTest, a_socket_that_listens_later_is_served_from_then_on) {
  Listening listening;
  gateway->add_listener(base::UniqueFd(::fcntl(listening.fd.get(), F_DUPFD_CLOEXEC, 0)));
  run();
  ASSERT_EQ(::listen(listening.fd.get(), 16), 0);
  Client client = listening.connect();
  client.send("GET /v2/health/live HTTP/1.1\r\n\r\n");
  for (int turn = 0; turn < 1000 && client.received.empty(); ++turn) {
    gateway->turn(10);
    client.read();
  }
  EXPECT_EQ(client.received.substr(0, 12), "HTTP/1.1 200");
}

TEST_F(LifeTest, connections_over_the_limit_wait_in_the_backlog) {
  GatewaySettings settings;
  settings.max_connections = 2;
  start(settings);
  Listening listening;
  ASSERT_EQ(::listen(listening.fd.get(), 16), 0);
  gateway->add_listener(base::UniqueFd(::fcntl(listening.fd.get(), F_DUPFD_CLOEXEC, 0)));
  std::vector<Client> clients;
  for (int index = 0; index < 3; ++index) {
    clients.push_back(listening.connect());
    clients.back().send("GET /v2/health/live HTTP/1.1\r\n\r\n");
  }
  run(50);
  EXPECT_EQ(clients[1].read().substr(0, 12), "HTTP/1.1 200");
  EXPECT_EQ(clients[2].read(), "");
  clients[0].close();
  run(10);
  gateway->sweep_at(gateway->now_s + 1);
  run(10);
  EXPECT_EQ(clients[2].read().substr(0, 12), "HTTP/1.1 200");
}

TEST_F(LifeTest, idle_connections_end_silently) {
  Client client = connect();
  exchange(&client, post(kJsonBody));
  pass(99);
  EXPECT_FALSE(client.ended);
  pass(2);
  client.received.clear();
  EXPECT_EQ(client.read(), "");
  EXPECT_TRUE(client.ended);
}

TEST_F(LifeTest, a_head_that_does_not_come_is_408) {
  Client client = connect();
  client.send("GET / HT");
  run();
  pass(9);
  client.send("T");
  run();
  pass(2);
  EXPECT_EQ(client.read().substr(0, 12), "HTTP/1.1 408");
  EXPECT_EQ(gateway->snapshot().timeouts, 1u);
}

TEST_F(LifeTest, a_body_that_trickles_is_408_and_one_that_moves_is_not) {
  Client slow = connect();
  Client moving = connect();
  const std::string head = "POST /v2/models/m/infer HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n";
  slow.send(head);
  moving.send(head);
  run();
  for (int round = 0; round < 3; ++round) {
    slow.send("x");
    moving.send(std::string(20000, ' '));
    run();
    pass(21);
    EXPECT_EQ(moving.read(), "");
  }
  EXPECT_EQ(slow.read().substr(0, 12), "HTTP/1.1 408");
  EXPECT_EQ(gateway->snapshot().timeouts, 1u);
}

TEST_F(LifeTest, a_request_in_flight_has_no_time_limit_here) {
  core->on_submit = nullptr;
  Client client = connect();
  EXPECT_EQ(exchange(&client, post(kJsonBody)), "");
  pass(10000);
  core->answer(core->submits[0]);
  run();
  EXPECT_EQ(client.read().substr(0, 12), "HTTP/1.1 200");
}

TEST_F(LifeTest, a_client_that_does_not_read_is_cut_off_and_its_answer_returned) {
  core->on_submit = [&](const shm::Submit& submit) {
    core->answer_with(submit, std::string(4 << 20, 'a'));
  };
  Client client = connect();
  client.send(binary_post(std::string(8, 'x')));
  run();
  EXPECT_TRUE(core->returns.empty());
  pass(31);  // some of it went out at first, which counts
  pass(31);
  expect_nothing_left();
  EXPECT_EQ(gateway->snapshot().connections_open, 0u);
}

TEST_F(LifeTest, lingering_ends) {
  Client client = connect();
  client.send("nonsense\r\n\r\n");
  run();
  EXPECT_EQ(client.read().substr(0, 12), "HTTP/1.1 400");
  EXPECT_EQ(gateway->snapshot().connections_open, 1u);
  pass(6);
  EXPECT_EQ(gateway->snapshot().connections_open, 0u);
}

TEST_F(LifeTest, draining_finishes_what_is_under_way) {
  core->on_submit = nullptr;
  Client idle = connect();
  Client busy = connect();
  Client begun = connect();
  exchange(&busy, post(kJsonBody));
  const std::string request = post(kJsonBody);
  begun.send(request.substr(0, 20));
  run();
  bool drained = false;
  gateway->drain([&] { drained = true; });
  run();
  idle.read();
  EXPECT_TRUE(idle.ended);
  EXPECT_FALSE(drained);
  core->answer(core->submits[0]);
  run();
  EXPECT_NE(busy.read().find("Connection: close\r\n"), std::string::npos);
  EXPECT_TRUE(busy.ended);
  EXPECT_FALSE(drained);
  begun.send(request.substr(20));
  run();
  core->answer(core->submits[1]);
  run();
  EXPECT_EQ(begun.read().substr(0, 12), "HTTP/1.1 200");
  EXPECT_TRUE(drained);
  expect_nothing_left();
}

TEST_F(LifeTest, liveness_says_that_the_server_is_exiting) {
  Client client = connect();
  client.send("GET /v2/health/li");
  run();
  gateway->drain([] {});
  client.send("ve HTTP/1.1\r\n\r\n");
  run();
  EXPECT_EQ(client.read().substr(0, 12), "HTTP/1.1 503");
  EXPECT_EQ(body_of(client.read()), R"({"error":"Server exiting"})");
}

}  // namespace
}  // namespace pyserver::gateway::testing
