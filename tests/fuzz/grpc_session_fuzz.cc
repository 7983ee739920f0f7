// Frames on a client's HTTP/2 connection: never a crash, never memory, a request or a connection left behind.
//
// Input: one byte of choices, then steps. A step is one byte of kind and what the kind wants: a call that begins (its head is made
// here, because a fuzzer does not find HPACK's Huffman codes; its answers may be compressed, or its time short), DATA of a stream with
// the next bytes, a whole message of the next bytes, one that is large and cut into frames, or any frame at all. Core is played here: some requests are echoed, some fail, some are answered twice, some never.
#include <nghttp2/nghttp2.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/gateway.h"
#include "shm/channel.h"
#include "shm/table.h"

namespace pyserver::gateway {
namespace {

constexpr uint64_t kRegionBytes = 16u << 20;
constexpr uint64_t kPlaceBytes = 4096;

std::string model(std::string_view name, int handle, bool decoupled) {
  return R"({"op":"model","name":")" + std::string(name) +
         R"(","versions":[{"version":1,"handle":)" + std::to_string(handle) +
         R"(,"state":"READY","spec":{"max_batch_size":0,"decoupled":)" +
         (decoupled ? "true" : "false") +
         R"(,"inputs":[{"name":"I","datatype":"FP32","dims":[-1],"reshape":null,"optional":false,)"
         R"("ragged":false,"shape_tensor":false}],"outputs":[{"name":"O","datatype":"FP32",)"
         R"("dims":[-1],"reshape":null,"labels":null}],"sequence":null}}]})";
}

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

struct World {
  World() {
    GatewaySettings settings;
    settings.grpc.compression_level = CompressionLevel::kLow;
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
    require(gateway->apply_model(model("m", 5, false)).ok(), "model");
    require(gateway->apply_model(model("d", 6, true)).ok(), "decoupled model");
    require(gateway->serve().ok(), "serve");
  }

  void reply(const shm::Submit& submit, uint8_t flags) {
    shm::RequestView view;
    require(view.parse({frontend.data() + submit.table_offset, submit.table_bytes}).ok(),
            "a request's table");
    shm::ResponseBuilder builder;
    const shm::TensorEntry& input = view.inputs()[0];
    require(frontend.contains(input.offset, input.byte_size), "a tensor's place");
    if ((flags & shm::kError) != 0) {
      builder.set_message("no");
    } else {
      builder.add_output("O", 0, input.datatype, view.shape(input),
                         {shm::Place::kRegion, input.region, input.offset, input.byte_size});
    }
    const std::span<const uint8_t> table = builder.finish();
    require(table.size() <= kPlaceBytes, "a small table");
    next_place = (next_place + kPlaceBytes) % kRegionBytes;
    std::memcpy(region.data() + next_place, table.data(), table.size());
    shm::Reply record;
    record.flags = flags;
    record.ticket = submit.ticket;
    record.table_offset = next_place;
    record.table_bytes = static_cast<uint32_t>(table.size());
    record.lease = 1;
    core.send(shm::pack(record));
  }

  void end(uint64_t ticket) {
    shm::Reply record;
    record.flags = shm::kFinal | shm::kReleasedFlag | shm::kEmpty;
    record.ticket = ticket;
    core.send(shm::pack(record));
  }

  void answer(const shm::Submit& submit) {
    switch (submit.payload_bytes % 4) {
      case 0:
        reply(submit, shm::kFinal | shm::kReleasedFlag);
        break;
      case 1:
        reply(submit, shm::kFinal | shm::kReleasedFlag | shm::kError);
        break;
      case 2:
        reply(submit, 0);
        reply(submit, 0);
        end(submit.ticket);
        break;
      default:
        late.push_back(submit.ticket);
    }
  }

  void poll() {
    shm::Record record;
    while (core.try_take(&record)) {
      if (record.kind == shm::Kind::kSubmit) answer(shm::unpack<shm::Submit>(record));
    }
    core.commit();
    core.flush();
  }

  void end_late() {
    for (const uint64_t ticket : late) end(ticket);
    late.clear();
    core.flush();
  }

  std::unique_ptr<Gateway> gateway;
  shm::ChannelFds fds;
  shm::ChannelEnd core;
  base::UniqueFd frontend_fd;
  base::UniqueFd core_fd;
  shm::Mapping frontend;
  shm::Mapping region;
  int control[2] = {-1, -1};
  std::vector<uint64_t> late;
  uint64_t next_place = 0;
};

std::string frame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload) {
  std::string made;
  for (const int shift : {16, 8, 0}) made.push_back(static_cast<char>(payload.size() >> shift));
  made.push_back(static_cast<char>(type));
  made.push_back(static_cast<char>(flags));
  for (const int shift : {24, 16, 8, 0}) made.push_back(static_cast<char>(stream >> shift));
  return made.append(payload);
}

// A head without compression: literal fields, names and values as they are.
std::string head(std::string_view path, uint8_t kind) {
  std::string made;
  const auto text = [&made](std::string_view value) {
    made.push_back(static_cast<char>(value.size()));
    made.append(value);
  };
  const auto add = [&made, &text](std::string_view name, std::string_view value) {
    made.push_back('\0');
    text(name);
    text(value);
  };
  add(":method", "POST");
  add(":scheme", "http");
  add(":path", path);
  add("content-type", "application/grpc");
  add("grpc-encoding", "gzip");
  if ((kind & 16) != 0) add("triton_grpc_error", "true");
  if ((kind & 32) != 0) add("grpc-accept-encoding", "identity, gzip");
  if ((kind & 64) != 0) add("grpc-timeout", "1n");
  return made;
}

std::string prefixed(std::string_view message) {
  std::string made(2, '\0');
  made.push_back(static_cast<char>(message.size() >> 16));
  made.push_back(static_cast<char>(message.size() >> 8));
  made.push_back(static_cast<char>(message.size()));
  return made.append(message);
}

// A ModelInferRequest with a tensor of `floats` numbers.
std::string request(bool decoupled, size_t floats) {
  const auto varint = [](size_t value) {
    std::string made;
    for (; value >= 0x80; value >>= 7) made.push_back(static_cast<char>((value & 0x7f) | 0x80));
    made.push_back(static_cast<char>(value));
    return made;
  };
  const std::string shape = "\x18" + varint(floats);
  const std::string input =
      "\x0a\x01I\x12\x04"
      "FP32" +
      shape;
  std::string made = decoupled ? "\x0a\x01"
                                 "d"
                               : "\x0a\x01m";
  made += std::string("\x2a") + static_cast<char>(input.size()) + input;
  made += "\x3a" + varint(floats * 4);
  return prefixed(made.append(floats * 4, 'x'));
}

class Script {
 public:
  explicit Script(std::string_view text) : text_(text) {}
  bool ended() const { return text_.empty(); }
  uint8_t byte() {
    if (text_.empty()) return 0;
    const char first = text_[0];
    text_.remove_prefix(1);
    return static_cast<uint8_t>(first);
  }
  std::string_view bytes(size_t count) {
    const std::string_view taken = text_.substr(0, count);
    text_.remove_prefix(taken.size());
    return taken;
  }

 private:
  std::string_view text_;
};

// What one step sends. `streams` is how many were begun.
std::string step(Script* script, uint32_t* streams) {
  const uint8_t kind = script->byte();
  const uint32_t stream = 2 * (*streams == 0 ? 0 : (kind >> 4) % *streams) + 1;
  const uint8_t end = (kind & 8) != 0 ? 1 : 0;
  switch (kind & 7) {
    case 0:
      return frame(1, 4 | end, 2 * (*streams)++ + 1,
                   head("/inference.GRPCInferenceService/ModelInfer", kind & 0xef));
    case 1:
      return frame(1, 4 | end, 2 * (*streams)++ + 1,
                   head("/inference.GRPCInferenceService/ModelStreamInfer", kind));
    case 2:
      return frame(1, 4 | end, 2 * (*streams)++ + 1, head("/grpc.health.v1.Health/Check", 0));
    case 3:
      return frame(0, end, stream, script->bytes(script->byte()));
    case 4:
      return frame(0, end, stream, prefixed(script->bytes(script->byte())));
    case 5:
      return frame(0, end, stream, request((kind & 16) != 0, script->byte() % 16));
    case 6: {
      if ((kind & 128) == 0) return frame(3, 0, stream, std::string("\0\0\0\x08", 4));
      const std::string message = request((kind & 16) != 0, 4096 + script->byte());
      const size_t cut = std::min<size_t>(64 * script->byte(), message.size());
      return frame(0, 0, stream, message.substr(0, cut)) +
             frame(0, end, stream, message.substr(cut));
    }
    default: {
      const uint8_t type = script->byte(), flags = script->byte(), to = script->byte();
      return frame(type, flags, to, script->bytes(script->byte()));
    }
  }
}

}  // namespace
}  // namespace pyserver::gateway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pyserver::gateway;
  static World* const world = new World();
  if (size < 2) return 0;
  const uint8_t choices = data[0];
  Script script({reinterpret_cast<const char*>(data) + 1, size - 1});
  int pair[2];
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0,
          "a client");
  pyserver::base::UniqueFd client(pair[1]);
  world->gateway->adopt(pyserver::base::UniqueFd(pair[0]));
  std::string out = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, {});
  char buffer[65536];
  uint32_t streams = 0;
  for (int count = 0; count < 200; ++count) {
    if (::send(client.get(), out.data(), out.size(), MSG_NOSIGNAL) < 0 || script.ended()) break;
    out = step(&script, &streams);
    if ((choices & 1) != 0 && (count & 3) != 0) continue;
    world->gateway->turn(0);
    world->poll();
    while ((choices & 2) == 0 && ::recv(client.get(), buffer, sizeof buffer, MSG_DONTWAIT) > 0) {
    }
  }
  for (int turn = 0; turn < 3; ++turn) {
    world->gateway->turn(0);
    world->poll();
  }
  if ((choices & 4) != 0) world->end_late();
  world->gateway->turn(0);
  client.reset();
  for (int turn = 0; turn < 4; ++turn) {
    world->gateway->turn(0);
    world->poll();
    world->end_late();
  }
  world->gateway->turn(0);
  const Counters now = world->gateway->snapshot();
  require(now.connections_open == 0, "a connection is left");
  require(now.inflight == 0, "a request is left");
  require(world->gateway->live_blocks() == 0, "memory is left");
  return 0;
}
