// An HTTP/2 client in the test's thread, for the gateway's gRPC half.
#pragma once

#include <nghttp2/nghttp2.h>

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/harness.h"

namespace pyserver::gateway::testing {

// A field of a protobuf message: bytes, or a number below 128.
inline std::string field(int number, std::string_view bytes) {
  std::string made(1, static_cast<char>(number << 3 | 2));
  for (size_t left = bytes.size();; left >>= 7) {
    if (left < 0x80) {
      made.push_back(static_cast<char>(left));
      break;
    }
    made.push_back(static_cast<char>((left & 0x7f) | 0x80));
  }
  return made.append(bytes);
}
inline std::string number_field(int number, uint64_t value) {
  std::string made(1, static_cast<char>(number << 3));
  for (; value >= 0x80; value >>= 7) made.push_back(static_cast<char>((value & 0x7f) | 0x80));
  made.push_back(static_cast<char>(value));
  return made;
}

// A ModelInferRequest with one raw FP32 input.
inline std::string infer_message(const std::string& data, const std::string& model = "m",
                                 const std::string& id = "") {
  const std::string shape = number_field(3, data.size() / 4);
  const std::string input = field(1, "INPUT0") + field(2, "FP32") + shape;
  return field(1, model) + (id.empty() ? "" : field(3, id)) + field(5, input) + field(7, data);
}

inline std::string framed(const std::string& message) {
  std::string made(5, '\0');
  for (int index = 0; index < 4; ++index) {
    made[static_cast<size_t>(index + 1)] = static_cast<char>(message.size() >> (24 - 8 * index));
  }
  return made + message;
}

class H2Client {
 public:
  struct Answer {
    std::map<std::string, std::string> head;  // of the head and the trailers
    std::string data;
    bool closed = false;
    uint32_t error_code = 0;

    std::string status() const {
      return head.contains("grpc-status") ? head.at("grpc-status") : "none";
    }
    std::string message() const {
      return head.contains("grpc-message") ? head.at("grpc-message") : "";
    }
  };

  explicit H2Client(Client client, bool consume = true) : client_(std::move(client)) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_option* option = nullptr;
    nghttp2_option_new(&option);
    // As large a head as a test wants; otherwise nghttp2 itself would not send it.
    nghttp2_option_set_max_send_header_block_length(option, 1 << 20);
    if (!consume) nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_session_client_new2(&session_, callbacks, this, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, nullptr, 0);
  }
  ~H2Client() { nghttp2_session_del(session_); }
  H2Client(const H2Client&) = delete;
  H2Client& operator=(const H2Client&) = delete;

  // Opens a stream; its number. Bytes of the request are sent by write().
  int32_t open(const std::string& path,
               std::vector<std::pair<std::string, std::string>> fields = {}) {
    std::vector<std::pair<std::string, std::string>> all = {
        {":method", "POST"}, {":scheme", "http"}, {":path", path},
        {":authority", "x"}, {"te", "trailers"},  {"content-type", "application/grpc"}};
    all.insert(all.end(), fields.begin(), fields.end());
    std::vector<nghttp2_nv> views;
    for (auto& [name, value] : all) {
      views.push_back({reinterpret_cast<uint8_t*>(name.data()),
                       reinterpret_cast<uint8_t*>(value.data()), name.size(), value.size(),
                       NGHTTP2_NV_FLAG_NONE});
    }
    nghttp2_data_provider provider{};
    provider.source.ptr = this;
    provider.read_callback = read_request;
    const int32_t id =
        nghttp2_submit_request(session_, nullptr, views.data(), views.size(), &provider, nullptr);
    flush();
    return id;
  }

  void write(int32_t id, std::string_view bytes, bool end = false) {
    requests_[id].bytes.append(bytes);
    requests_[id].ended = end;
    nghttp2_session_resume_data(session_, id);
    flush();
  }

  void cancel(int32_t id) {
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    flush();
  }

  void ping() {
    nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
    flush();
  }

  // What we have to send goes out, as far as the socket takes it.
  void flush() {
    const uint8_t* bytes = nullptr;
    while (true) {
      const ssize_t size = nghttp2_session_mem_send(session_, &bytes);
      if (size <= 0) break;
      outgoing_.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
    }
    outgoing_.erase(0, client_.send_some(outgoing_));
  }

  void read() {
    client_.received.clear();
    client_.read();
    const auto* const bytes = reinterpret_cast<const uint8_t*>(client_.received.data());
    if (nghttp2_session_mem_recv(session_, bytes, client_.received.size()) < 0) broken = true;
    flush();
  }

  Client& client() { return client_; }
  std::map<int32_t, Answer> answers;
  bool broken = false;
  std::vector<uint32_t> goaways;

 private:
  struct Request {
    std::string bytes;
    bool ended = false;
  };
  static H2Client* self(void* data) { return static_cast<H2Client*>(data); }
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name,
                       size_t name_size, const uint8_t* value, size_t value_size, uint8_t,
                       void* data) {
    self(data)
        ->answers[frame->hd.stream_id]
        .head[std::string(reinterpret_cast<const char*>(name), name_size)] =
        std::string(reinterpret_cast<const char*>(value), value_size);
    return 0;
  }
  static int on_data(nghttp2_session*, uint8_t, int32_t id, const uint8_t* bytes, size_t size,
                     void* data) {
    self(data)->answers[id].data.append(reinterpret_cast<const char*>(bytes), size);
    return 0;
  }
  static int on_close(nghttp2_session*, int32_t id, uint32_t error_code, void* data) {
    self(data)->answers[id].closed = true;
    self(data)->answers[id].error_code = error_code;
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* data) {
    if (frame->hd.type == NGHTTP2_GOAWAY) self(data)->goaways.push_back(frame->goaway.error_code);
    return 0;
  }
  static ssize_t read_request(nghttp2_session*, int32_t id, uint8_t* buffer, size_t length,
                              uint32_t* flags, nghttp2_data_source* source, void*) {
    Request& request = static_cast<H2Client*>(source->ptr)->requests_[id];
    const size_t step = std::min(length, request.bytes.size());
    if (step == 0 && !request.ended) return NGHTTP2_ERR_DEFERRED;
    std::memcpy(buffer, request.bytes.data(), step);
    request.bytes.erase(0, step);
    if (request.bytes.empty() && request.ended) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(step);
  }

  Client client_;
  nghttp2_session* session_ = nullptr;
  std::string outgoing_;
  std::map<int32_t, Request> requests_;
};

inline constexpr const char* kInfer = "/inference.GRPCInferenceService/ModelInfer";
inline constexpr const char* kStream = "/inference.GRPCInferenceService/ModelStreamInfer";
inline const std::string kData = std::string("\0\0\x80\x3f\0\0\0\x40", 8);

// A gateway with one model (and one that is decoupled, after serve_decoupled()), its core, and what tests of gRPC do with them.
class GrpcTest : public GatewayTest {
 protected:
  void go(H2Client* client, int turns = 12) {
    for (int turn = 0; turn < turns; ++turn) {
      client->flush();
      gateway->turn(0);
      if (core != nullptr) core->poll();
      client->read();
    }
  }
  H2Client::Answer call(H2Client* client, const std::string& message, const char* path = kInfer) {
    const int32_t id = client->open(path);
    client->write(id, framed(message), true);
    go(client);
    return client->answers[id];
  }
  void serve_decoupled() {
    std::string model = kModel;
    model.replace(model.find("\"name\":\"m\""), 10, "\"name\":\"d\"");
    model.replace(model.find("\"handle\":5"), 10, "\"handle\":6");
    model.replace(model.find("\"decoupled\":false"), 17, "\"decoupled\":true");
    EXPECT_OK(gateway->apply_model(model));
  }
  void final_without_tensors(uint64_t ticket) {
    shm::Reply record;
    record.flags = shm::kFinal | shm::kReleasedFlag | shm::kEmpty;
    record.ticket = ticket;
    core->send(record);
  }
};

}  // namespace pyserver::gateway::testing
