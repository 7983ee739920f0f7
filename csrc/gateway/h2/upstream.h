// The connection to core's gRPC service, over which this frontend passes on every call that is not inference.
//
// `link_fd` is an O_PATH descriptor of a Unix socket's inode; the connection is made with the first call and again after it has ended.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gateway/h2/call.h"
#include "gateway/h2/message_meter.h"
#include "gateway/h2/stream.h"
#include "gateway/h2/transport.h"

namespace pyserver::gateway::h2 {

class UpstreamConnection;
class ProxyService;

// One call that is passed on: bytes go through as they are, both ways, no more of them at once than the windows allow.
class ProxyCall final : public Call {
 public:
  // `limit` bytes of one message are passed on at most.
  ProxyCall(Stream* stream, ProxyService* service, uint64_t limit);
  ~ProxyCall() override;

  void take(std::span<const uint8_t> bytes) override;
  void input_ended() override;
  void drained(size_t bytes) override;
  bool waits_for_bytes() const override;
  void closed() override;

  // --- for the connection ---
  ssize_t read_request(uint8_t* buffer, size_t length, uint32_t* flags);
  void answer_field(std::string name, std::string value);
  void answer_fields_complete(bool end);
  void answer_data(std::span<const uint8_t> bytes);
  void ended(uint32_t error_code);

 private:
  friend class UpstreamConnection;
  void give_up();

  Stream* stream_;  // null: the client has gone
  ProxyService* service_;
  UpstreamConnection* connection_ = nullptr;
  int32_t id_ = -1;  // there
  MessageMeter meter_;
  std::string request_;
  size_t request_sent_ = 0;
  bool request_ended_ = false;
  bool deferred_ = false;
  bool answered_ = false;
  std::vector<Field> answer_;
};

class UpstreamConnection final : public Transport {
 public:
  UpstreamConnection(Host* host, FlushQueue* queue, ProxyService* service, base::UniqueFd fd);

  bool submit(ProxyCall* call);
  void cancel(ProxyCall* call);
  void consume(const ProxyCall& call, size_t bytes);
  void resume(const ProxyCall& call);

 private:
  struct Callbacks;
  static nghttp2_session_callbacks* callbacks();
  void on_closed() override;

  ProxyService* service_;
  std::vector<ProxyCall*> calls_;
};

class ProxyService {
 public:
  ProxyService(Host* host, FlushQueue* queue) : host_(host), queue_(queue) {}
  ~ProxyService();

  // Replaces what was there before.
  void connect_to(base::UniqueFd link_fd);
  void on_core_lost();
  // Core serves; its gRPC service may come a little later.
  std::unique_ptr<Call> begin(Stream* stream);
  // The call's client has gone while it waited for core's service to come.
  void forget(ProxyCall* call) { std::erase(waiting_, call); }
  void connection_closed();
  void bury() { buried_.clear(); }

 private:
  base::UniqueFd connect() const;
  bool submit(ProxyCall* call);

  Host* host_;
  FlushQueue* queue_;
  base::UniqueFd link_fd_;
  std::unique_ptr<UpstreamConnection> connection_;
  std::vector<ProxyCall*> waiting_;  // core has just begun
  std::vector<std::unique_ptr<UpstreamConnection>> buried_;
};

}  // namespace pyserver::gateway::h2
