// nghttp2 as a client of core's gRPC service.
#include "gateway/h2/upstream.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <utility>

#include "gateway/h2/session.h"

namespace pyserver::gateway::h2 {

namespace {

constexpr uint32_t kStreamWindow = 1 << 18;
constexpr int32_t kConnectionWindow = 16 << 20;
// Core works on 4096 calls at once (grpc_api/server.py); one client may have so many of them.
constexpr uint32_t kMostOfOneClient = 1024;
constexpr std::string_view kLoad = "/inference.GRPCInferenceService/RepositoryModelLoad";

}  // namespace

struct UpstreamConnection::Callbacks {
  static ProxyCall* call_of(nghttp2_session* session, int32_t id) {
    return static_cast<ProxyCall*>(nghttp2_session_get_stream_user_data(session, id));
  }

  static int header(nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name,
                    size_t name_size, const uint8_t* value, size_t value_size, uint8_t, void*) {
    if (ProxyCall* const call = call_of(session, frame->hd.stream_id)) {
      call->answer_field({reinterpret_cast<const char*>(name), name_size},
                         {reinterpret_cast<const char*>(value), value_size});
    }
    return 0;
  }

  static int frame_received(nghttp2_session* session, const nghttp2_frame* frame, void*) {
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    if (ProxyCall* const call = call_of(session, frame->hd.stream_id)) {
      call->answer_fields_complete((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0);
    }
    return 0;
  }

  static int data_received(nghttp2_session* session, uint8_t, int32_t id, const uint8_t* bytes,
                           size_t size, void*) {
    nghttp2_session_consume_connection(session, size);
    if (ProxyCall* const call = call_of(session, id)) call->answer_data({bytes, size});
    return 0;
  }

  static int stream_closed(nghttp2_session* session, int32_t id, uint32_t error_code,
                           void* user_data) {
    ProxyCall* const call = call_of(session, id);
    if (call == nullptr) return 0;
    nghttp2_session_set_stream_user_data(session, id, nullptr);
    std::erase(static_cast<UpstreamConnection*>(static_cast<Transport*>(user_data))->calls_, call);
    call->ended(error_code);
    return 0;
  }

  static ssize_t read_request(nghttp2_session* session, int32_t id, uint8_t* buffer, size_t length,
                              uint32_t* flags, nghttp2_data_source*, void*) {
    ProxyCall* const call = call_of(session, id);  // null when it was cancelled
    if (call == nullptr) return NGHTTP2_ERR_DEFERRED;
    return call->read_request(buffer, length, flags);
  }
};

nghttp2_session_callbacks* UpstreamConnection::callbacks() {
  struct Delete {
    void operator()(nghttp2_session_callbacks* made) const { nghttp2_session_callbacks_del(made); }
  };
  static const std::unique_ptr<nghttp2_session_callbacks, Delete> kAll = [] {
    nghttp2_session_callbacks* made = nullptr;
    nghttp2_session_callbacks_new(&made);
    nghttp2_session_callbacks_set_on_header_callback(made, Callbacks::header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(made, Callbacks::frame_received);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, Callbacks::data_received);
    nghttp2_session_callbacks_set_on_stream_close_callback(made, Callbacks::stream_closed);
    return std::unique_ptr<nghttp2_session_callbacks, Delete>(made);
  }();
  return kAll.get();
}

UpstreamConnection::UpstreamConnection(Host* host, FlushQueue* queue, ProxyService* service,
                                       base::UniqueFd fd)
    : Transport(host, queue, std::move(fd)), service_(service) {
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  // Refusals may end in a blank ("..., got: "), and grpcio sends them so.
  nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(option, 1);
  nghttp2_session* session = nullptr;
  nghttp2_session_client_new2(&session, callbacks(), static_cast<Transport*>(this), option);
  nghttp2_option_del(option);
  own_session(session);
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
  };
  nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
  want_flush();
}

bool UpstreamConnection::submit(ProxyCall* call) {
  std::vector<nghttp2_nv> head = {field_view(":method", "POST"), field_view(":scheme", "http"),
                                  field_view(":path", call->stream_->path),
                                  field_view(":authority", "core")};
  for (const Field& field : call->stream_->fields) {
    if (field.name != "host") head.push_back(field_view(field.name, field.value));
  }
  nghttp2_data_provider provider{};
  provider.read_callback = Callbacks::read_request;
  call->id_ = nghttp2_submit_request(session(), nullptr, head.data(), head.size(), &provider, call);
  if (call->id_ < 0) return false;
  call->connection_ = this;
  calls_.push_back(call);
  want_flush();
  return true;
}

void UpstreamConnection::cancel(ProxyCall* call) {
  call->connection_ = nullptr;
  std::erase(calls_, call);
  if (closed()) return;
  // A request that nghttp2 has not begun yet has no stream: its user data is changed where it waits.
  nghttp2_session_set_stream_user_data(session(), call->id_, nullptr);
  nghttp2_submit_rst_stream(session(), NGHTTP2_FLAG_NONE, call->id_, NGHTTP2_CANCEL);
  want_flush();
}

void UpstreamConnection::consume(const ProxyCall& call, size_t bytes) {
  if (closed()) return;
  nghttp2_session_consume_stream(session(), call.id_, bytes);
  want_flush();
}

void UpstreamConnection::resume(const ProxyCall& call) {
  if (closed()) return;
  nghttp2_session_resume_data(session(), call.id_);
  want_flush();
}

void UpstreamConnection::on_closed() {
  const std::vector<ProxyCall*> calls = std::exchange(calls_, {});
  for (ProxyCall* const call : calls) call->ended(NGHTTP2_CANCEL);
  service_->connection_closed();
}

ProxyService::~ProxyService() { on_core_lost(); }

void ProxyService::connect_to(base::UniqueFd link_fd) {
  if (connection_ != nullptr) connection_->close();
  link_fd_ = std::move(link_fd);
  for (ProxyCall* const call : std::exchange(waiting_, {})) {
    if (!submit(call)) call->ended(NGHTTP2_CANCEL);
  }
}

void ProxyService::on_core_lost() {
  link_fd_.reset();
  if (connection_ != nullptr) connection_->close();
  for (ProxyCall* const call : std::exchange(waiting_, {})) call->ended(NGHTTP2_CANCEL);
}

void ProxyService::connection_closed() {
  if (connection_ != nullptr) buried_.push_back(std::move(connection_));
}

base::UniqueFd ProxyService::connect() const {
  if (!link_fd_.valid()) return {};
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return {};
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  std::snprintf(at.sun_path, sizeof at.sun_path, "/proc/self/fd/%d", link_fd_.get());
  // Does not block: a listener with room takes it at once, and without room core is in trouble anyway.
  ::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) return {};
  return fd;
}

bool ProxyService::submit(ProxyCall* call) {
  if (connection_ == nullptr) {
    base::UniqueFd fd = connect();
    if (!fd.valid()) return false;
    connection_ = std::make_unique<UpstreamConnection>(host_, queue_, this, std::move(fd));
    if (!connection_->watch().ok()) connection_->close();
  }
  return connection_ != nullptr && connection_->submit(call);
}

std::unique_ptr<Call> ProxyService::begin(Stream* stream) {
  if (stream->session()->proxied_calls >= kMostOfOneClient) {
    stream->finish(protocol::grpc::StatusCode::kResourceExhausted,
                   "too many calls but inference are under way on this connection");
    return nullptr;
  }
  // A load may bring the model's files along, and whoever may load models needs no large messages to do harm.
  const GatewaySettings& settings = host_->settings;
  const uint64_t limit =
      stream->path == kLoad ? settings.grpc.max_message_bytes : settings.max_input_bytes;
  auto call = std::make_unique<ProxyCall>(stream, this, limit);
  if (!link_fd_.valid()) {
    waiting_.push_back(call.get());
  } else if (!submit(call.get())) {
    call->closed();
    stream->finish(protocol::grpc::StatusCode::kUnavailable,
                   "the server's core is not available; try again shortly");
    return nullptr;
  }
  ++host_->counters.proxied;
  return call;
}

}  // namespace pyserver::gateway::h2
