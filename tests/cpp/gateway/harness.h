// A gateway in this thread, with a core played by the test at the other end of its channel, and clients on socket pairs.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/gateway.h"
#include "shm/allocator.h"
#include "shm/channel.h"
#include "shm/table.h"

namespace pyserver::gateway::testing {

inline constexpr uint32_t kFrontendPeer = 3;
inline constexpr uint32_t kInstancePeer = 9;
inline constexpr uint64_t kRegionBytes = 64u << 20;

#define EXPECT_OK(expression)                       \
  do {                                              \
    const auto status_ = (expression);              \
    EXPECT_TRUE(status_.ok()) << status_.message(); \
  } while (false)

// What a test of the gateway wants from core: takes its records, answers them, has a region of an instance.
class FakeCore {
 public:
  FakeCore() {
    EXPECT_OK(shm::ChannelFds::make(kFrontendPeer, kRegionBytes, true, &fds_));
    EXPECT_OK(shm::ChannelEnd::open(fds_, shm::Side::kCore, &end_));
    EXPECT_OK(shm::make_memfd("test-frontend", kRegionBytes, &frontend_fd_));
    EXPECT_OK(shm::Mapping::map(frontend_fd_.get(), false, &frontend_));
    EXPECT_OK(shm::make_memfd("test-instance", kRegionBytes, &instance_fd_));
    EXPECT_OK(shm::Mapping::map(instance_fd_.get(), true, &instance_));
    allocator_.emplace(&instance_, kRegionBytes, kRegionBytes);
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    control_ = base::UniqueFd(pair[0]);
    gateways_control_ = base::UniqueFd(pair[1]);
  }

  void introduce(Gateway* gateway) {
    const int fds[4] = {fds_.rings.get(), fds_.core_bell.get(), fds_.peer_bell.get(),
                        frontend_fd_.get()};
    EXPECT_OK(gateway->attach(fds, gateways_control_.get()));
    EXPECT_OK(gateway->add_region(kInstancePeer, instance_fd_.get()));
  }

  // Takes everything that has come; Submits go to `on_submit`.
  void poll() {
    shm::Record record;
    while (end_.try_take(&record)) {
      switch (record.kind) {
        case shm::Kind::kSubmit:
          submits.push_back(shm::unpack<shm::Submit>(record));
          if (on_submit) on_submit(submits.back());
          break;
        case shm::Kind::kCancel:
          cancels.push_back(shm::unpack<shm::Cancel>(record).ticket);
          break;
        case shm::Kind::kReturn:
          returns.push_back(shm::unpack<shm::Return>(record).lease);
          break;
        default:
          ADD_FAILURE() << "an unexpected record of kind " << int(record.kind);
      }
    }
    end_.commit();
    end_.flush();
  }

  shm::RequestView request(const shm::Submit& submit) {
    shm::RequestView view;
    EXPECT_TRUE(frontend_.contains(submit.table_offset, submit.table_bytes));
    EXPECT_OK(view.parse({frontend_.data() + submit.table_offset, submit.table_bytes}));
    return view;
  }

  std::string bytes(const shm::TensorEntry& tensor) const {
    return std::string(reinterpret_cast<const char*>(frontend_.data()) + tensor.offset,
                       tensor.byte_size);
  }

  // Sends a table as a reply with a lease of its own.
  void reply(uint64_t ticket, std::span<const uint8_t> table, uint8_t flags,
             base::Code code = base::Code::kUnknown) {
    const auto offset = allocator_->allocate(table.size());
    ASSERT_TRUE(offset);
    std::memcpy(instance_.data() + *offset, table.data(), table.size());
    shm::Reply record;
    record.flags = flags;
    record.code = static_cast<uint8_t>(code);
    record.ticket = ticket;
    record.table_offset = *offset;
    record.table_bytes = static_cast<uint32_t>(table.size());
    record.lease = next_lease_++;
    record.owner = kInstancePeer;
    send(record);
  }

  // OUTPUT0 = the request's first input, by reference.
  void answer(const shm::Submit& submit, uint8_t flags = shm::kFinal | shm::kReleasedFlag) {
    const shm::RequestView view = request(submit);
    shm::ResponseBuilder builder;
    const shm::TensorEntry& input = view.inputs()[0];
    builder.add_output("OUTPUT0", 0, input.datatype, view.shape(input),
                       {shm::Place::kRegion, input.region, input.offset, input.byte_size});
    reply(submit.ticket, builder.finish(), flags);
  }

  // OUTPUT0 = bytes in the instance's own region.
  void answer_with(const shm::Submit& submit, const std::string& content) {
    const auto place = allocator_->allocate(content.size());
    ASSERT_TRUE(place);
    std::memcpy(instance_.data() + *place, content.data(), content.size());
    shm::ResponseBuilder builder;
    const int64_t shape[] = {static_cast<int64_t>(content.size() / 4)};
    builder.add_output("OUTPUT0", 0, base::Datatype::kFp32, shape,
                       {shm::Place::kRegion, kInstancePeer, *place, content.size()});
    reply(submit.ticket, builder.finish(), shm::kFinal | shm::kReleasedFlag);
  }

  void fail(const shm::Submit& submit, base::Code code, const std::string& message) {
    shm::ResponseBuilder builder;
    builder.set_message(message);
    reply(submit.ticket, builder.finish(), shm::kFinal | shm::kError | shm::kReleasedFlag, code);
  }

  template <typename T>
  void send(const T& record) {
    end_.send(shm::pack(record));
    end_.flush();
  }

  uint64_t leases_given() const { return next_lease_ - 1; }
  int control() const { return control_.get(); }

  // The descriptor of an {"op":"proxy"}, if one has come.
  base::UniqueFd take_proxy() {
    char text[256];
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    iovec part{text, sizeof text};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t size = ::recvmsg(control_.get(), &message, MSG_CMSG_CLOEXEC);
    if (size <= 0) return base::UniqueFd();
    EXPECT_EQ(std::string(text, static_cast<size_t>(size)), "{\"op\":\"proxy\"}");
    int fd = -1;
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message))
      std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return base::UniqueFd(fd);
  }

  std::vector<shm::Submit> submits;
  std::vector<uint64_t> cancels;
  std::vector<uint64_t> returns;
  std::function<void(const shm::Submit&)> on_submit;

 private:
  shm::ChannelFds fds_;
  shm::ChannelEnd end_;
  base::UniqueFd frontend_fd_;
  shm::Mapping frontend_;
  base::UniqueFd instance_fd_;
  shm::Mapping instance_;
  std::optional<shm::Allocator> allocator_;
  base::UniqueFd control_;
  base::UniqueFd gateways_control_;
  uint64_t next_lease_ = 1;
};

// A client's end of a connection.
class Client {
 public:
  explicit Client(int fd) : fd_(fd) {}

  void send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0) return;
      text.remove_prefix(static_cast<size_t>(sent));
    }
  }
  // As much as goes without waiting; how much that was.
  size_t send_some(std::string_view text) {
    const ssize_t sent = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent > 0 ? static_cast<size_t>(sent) : 0;
  }
  // What has come so far, all of it.
  const std::string& read(size_t limit = SIZE_MAX) {
    char buffer[65536];
    for (size_t total = 0; total < limit;) {
      const ssize_t count =
          ::recv(fd_.get(), buffer, std::min(sizeof buffer, limit - total), MSG_DONTWAIT);
      if (count == 0) ended = true;
      if (count <= 0) break;
      received.append(buffer, static_cast<size_t>(count));
      total += static_cast<size_t>(count);
    }
    return received;
  }
  void half_close() { ::shutdown(fd_.get(), SHUT_WR); }
  void close() { fd_.reset(); }

  std::string received;
  bool ended = false;

 private:
  base::UniqueFd fd_;
};

class GatewayTest : public ::testing::Test {
 protected:
  static constexpr const char* kModel =
      R"({"op":"model","name":"m","versions":[{"version":1,"handle":5,"state":"READY","spec":{"max_batch_size":0,)"
      R"("decoupled":false,"inputs":[{"name":"INPUT0","datatype":"FP32","dims":[-1],"reshape":null,"optional":false,)"
      R"("ragged":false,"shape_tensor":false}],"outputs":[{"name":"OUTPUT0","datatype":"FP32","dims":[-1],)"
      R"("reshape":null,"labels":null}],"sequence":null}}]})";

  void start(const GatewaySettings& settings = {}) {
    gateway = std::make_unique<Gateway>(settings);
    ASSERT_TRUE(gateway->open().ok());
    meet_core();
  }

  void meet_core() {
    core = std::make_unique<FakeCore>();
    core->introduce(gateway.get());
    EXPECT_OK(gateway->apply_model(kModel));
    EXPECT_OK(gateway->serve());
    core->on_submit = [this](const shm::Submit& submit) { core->answer(submit); };
  }

  void SetUp() override { start(); }

  Client connect() {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    gateway->adopt(base::UniqueFd(pair[0]));
    return Client(pair[1]);
  }

  // Lets gateway and core go on until neither has anything to do.
  void run(int turns = 12) {
    for (int turn = 0; turn < turns; ++turn) {
      gateway->turn(0);
      if (core != nullptr) core->poll();
    }
  }

  // More than a socket's buffer holds: the gateway reads meanwhile.
  void send_all(Client* client, std::string_view text) {
    for (int turn = 0; turn < 100000 && !text.empty(); ++turn) {
      text.remove_prefix(client->send_some(text));
      if (!text.empty()) gateway->turn(0);
    }
  }

  std::string exchange(Client* client, std::string_view text) {
    client->received.clear();
    client->read();
    client->received.clear();
    send_all(client, text);
    run();
    return client->read();
  }

  std::string exchange(std::string_view text) {
    Client client = connect();
    return exchange(&client, text);
  }

  static std::string post(const std::string& body, const std::string& headers = "",
                          const std::string& path = "/v2/models/m/infer") {
    return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + headers +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }

  // A request with one binary FP32 input.
  static std::string binary_body(const std::string& tensor, size_t* json_bytes) {
    const std::string json =
        R"({"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[)" +
        std::to_string(tensor.size() / 4) + R"(],"parameters":{"binary_data_size":)" +
        std::to_string(tensor.size()) + R"(}}],"parameters":{"binary_data_output":true}})";
    *json_bytes = json.size();
    return json + tensor;
  }

  static std::string binary_post(const std::string& tensor, const std::string& headers = "") {
    size_t json_bytes = 0;
    const std::string body = binary_body(tensor, &json_bytes);
    return post(
        body, "Inference-Header-Content-Length: " + std::to_string(json_bytes) + "\r\n" + headers);
  }

  static std::string body_of(const std::string& answer) {
    const size_t end = answer.find("\r\n\r\n");
    return end == std::string::npos ? "" : answer.substr(end + 4);
  }

  void expect_nothing_left() {
    run();
    const Counters now = gateway->snapshot();
    EXPECT_EQ(now.inflight, 0u);
    EXPECT_EQ(gateway->live_blocks(), 0u);
    EXPECT_EQ(core->returns.size(), core->leases_given());
    EXPECT_EQ(now.bad_replies, 0u);
  }

  static constexpr const char* kJsonBody =
      R"({"id":"7","inputs":[{"name":"INPUT0","datatype":"FP32","shape":[3],"data":[1,2,3]}]})";

  std::unique_ptr<Gateway> gateway;
  std::unique_ptr<FakeCore> core;
};

}  // namespace pyserver::gateway::testing
