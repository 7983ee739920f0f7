// Bytes on a client's connection, in pieces of any size: never a crash, never memory, a descriptor or a connection left behind.
//
// Input: one byte of choices, one byte of piece size, then what the client sends. Core is played here: inference is echoed, and proxied
// requests are answered with the same bytes that the client sent (so its parser of answers sees nonsense too).
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "gateway/gateway.h"
#include "shm/channel.h"
#include "shm/table.h"

namespace pyserver::gateway {
namespace {

constexpr uint64_t kRegionBytes = 16u << 20;
constexpr std::string_view kModel =
    R"({"op":"model","name":"m","versions":[{"version":1,"handle":5,"state":"READY","spec":{"max_batch_size":0,)"
    R"("decoupled":false,"inputs":[{"name":"INPUT0","datatype":"FP32","dims":[-1],"reshape":null,"optional":false,)"
    R"("ragged":false,"shape_tensor":false}],"outputs":[{"name":"OUTPUT0","datatype":"FP32","dims":[-1],)"
    R"("reshape":null,"labels":null}],"sequence":null}}]})";

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

struct World {
  World() {
    GatewaySettings settings;
    settings.max_input_bytes = 100'000;
    gateway = std::make_unique<Gateway>(settings);
    require(gateway->open().ok(), "open");
    require(shm::ChannelFds::make(3, kRegionBytes, true, &fds).ok(), "channel");
    require(shm::ChannelEnd::open(fds, shm::Side::kCore, &core).ok(), "core's end");
    require(shm::make_memfd("fuzz-frontend", kRegionBytes, &frontend_fd).ok(), "frontend's region");
    require(shm::Mapping::map(frontend_fd.get(), false, &frontend).ok(), "frontend's mapping");
    require(shm::make_memfd("fuzz-core", kRegionBytes, &core_fd).ok(), "core's region");
    require(shm::Mapping::map(core_fd.get(), true, &region).ok(), "core's mapping");
    require(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, control) == 0,
            "control");
    const int all[4] = {fds.rings.get(), fds.core_bell.get(), fds.peer_bell.get(),
                        frontend_fd.get()};
    require(gateway->attach(all, control[1]).ok(), "attach");
    require(gateway->add_region(shm::kCorePeer, core_fd.get()).ok(), "region");
    require(gateway->apply_model(kModel).ok(), "model");
    require(gateway->serve().ok(), "serve");
  }

  void echo(const shm::Submit& submit, bool fail) {
    shm::RequestView view;
    require(view.parse({frontend.data() + submit.table_offset, submit.table_bytes}).ok(),
            "a request's table");
    shm::ResponseBuilder builder;
    const shm::TensorEntry& input = view.inputs()[0];
    require(frontend.contains(input.offset, input.byte_size), "a tensor's place");
    if (fail) {
      builder.set_message("no");
    } else {
      builder.add_output("OUTPUT0", 0, input.datatype, view.shape(input),
                         {shm::Place::kRegion, input.region, input.offset, input.byte_size});
    }
    const std::span<const uint8_t> table = builder.finish();
    // One request is under way at a time, so one place is enough for its answer.
    std::memcpy(region.data(), table.data(), table.size());
    shm::Reply reply;
    reply.flags = shm::kFinal | shm::kReleasedFlag | (fail ? shm::kError : 0);
    reply.ticket = submit.ticket;
    reply.table_bytes = static_cast<uint32_t>(table.size());
    reply.lease = 1;
    core.send(shm::pack(reply));
  }

  void poll(bool fail, std::string_view answer) {
    shm::Record record;
    while (core.try_take(&record)) {
      if (record.kind == shm::Kind::kSubmit) echo(shm::unpack<shm::Submit>(record), fail);
    }
    core.commit();
    core.flush();
    take_proxy();
    for (const base::UniqueFd& upstream : upstreams) {
      char buffer[4096];
      if (::recv(upstream.get(), buffer, sizeof buffer, MSG_DONTWAIT) > 0) {
        [[maybe_unused]] const ssize_t sent =
            ::send(upstream.get(), answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      }
    }
  }

  void take_proxy() {
    char text[64];
    alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))];
    iovec part{text, sizeof text};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = space;
    message.msg_controllen = sizeof space;
    if (::recvmsg(control[0], &message, MSG_CMSG_CLOEXEC) <= 0) return;
    int fd = -1;
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message))
      std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    if (fd >= 0) upstreams.emplace_back(fd);
  }

  std::unique_ptr<Gateway> gateway;
  shm::ChannelFds fds;
  shm::ChannelEnd core;
  base::UniqueFd frontend_fd;
  base::UniqueFd core_fd;
  shm::Mapping frontend;
  shm::Mapping region;
  int control[2] = {-1, -1};
  std::vector<base::UniqueFd> upstreams;
};

}  // namespace
}  // namespace pyserver::gateway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using pyserver::gateway::require;
  static pyserver::gateway::World* const world = new pyserver::gateway::World();
  if (size < 2) return 0;
  const uint8_t choices = data[0];
  const size_t piece = data[1] == 0 ? size : data[1];
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const bool fail = (choices & 1) != 0;
  int pair[2];
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0,
          "a client");
  pyserver::base::UniqueFd client(pair[1]);
  world->gateway->adopt(pyserver::base::UniqueFd(pair[0]));
  char buffer[65536];
  for (size_t at = 0; at < text.size(); at += piece) {
    const std::string_view part = text.substr(at, piece);
    if (::send(client.get(), part.data(), part.size(), MSG_NOSIGNAL) < 0) break;
    world->gateway->turn(0);
    world->poll(fail, text);
    if ((choices & 2) == 0) {
      while (::recv(client.get(), buffer, sizeof buffer, MSG_DONTWAIT) > 0) {
      }
    }
  }
  if ((choices & 4) != 0) ::shutdown(client.get(), SHUT_WR);
  for (int turn = 0; turn < 3; ++turn) {
    world->gateway->turn(0);
    world->poll(fail, text);
  }
  client.reset();
  for (int turn = 0; turn < 6; ++turn) {
    if (turn == 3) world->upstreams.clear();
    world->gateway->turn(0);
    world->poll(fail, text);
  }
  world->upstreams.clear();
  world->gateway->turn(0);
  world->gateway->turn(0);
  const pyserver::gateway::Counters now = world->gateway->snapshot();
  require(now.connections_open == 0, "a connection is left");
  require(now.inflight == 0, "a request is left");
  require(world->gateway->live_blocks() == 0, "memory is left");
  require(now.bad_replies == 0, "a reply was not understood");
  return 0;
}
