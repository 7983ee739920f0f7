// Everything that is not inference goes to the control plane: a request is spoken over a Unix socket pair whose other end core serves with
// its HTTP application. Both bodies stream, with bounded buffers; connections to core are kept for a while.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "gateway/connection.h"
#include "gateway/core_link.h"
#include "gateway/exchange.h"
#include "gateway/host.h"
#include "gateway/http_parser.h"
#include "gateway/loop.h"

namespace pyserver::gateway {

class ProxyService;

// One connection to core, and the exchange that uses it at the moment.
class Upstream final : public Watcher, public Exchange, private BodyTarget {
 public:
  Upstream(ProxyService* service, base::UniqueFd fd);
  ~Upstream() override;

  int fd() const { return fd_.get(); }
  bool idle() const { return connection_ == nullptr && fd_.valid(); }
  uint32_t idle_since_s() const { return idle_since_s_; }
  void start(Connection* connection, const RequestHead& head);
  // Cuts it off; a client that still waits is told so.
  void fail(std::string_view why);

  // the socket to core
  void on_events(uint32_t events) override;

  // the request
  void take(std::span<const uint8_t> bytes) override;
  bool full() const override;
  void body_complete() override;

  // the answer
  void drained() override;
  void done() override;
  void abandoned() override;

 private:
  void send_request();
  void read_answer();
  size_t use(const char* base, size_t size);
  void begin_answer();
  void body_piece(std::span<const uint8_t> piece) override;
  void end_answer();
  void close();

  ProxyService* service_;
  base::UniqueFd fd_;
  HttpParser parser_;
  Connection* connection_ = nullptr;
  std::string out_;  // of the request, not yet taken by core
  size_t out_sent_ = 0;
  std::string in_;  // a head of an answer that is not complete
  size_t in_parsed_ = 0;
  bool readable_ = false;
  bool ended_ = false;         // core closed its end
  bool head_request_ = false;  // the answer to HEAD has no body
  bool request_chunked_ = false;
  bool request_done_ = false;
  bool answer_begun_ = false;
  bool answer_chunked_ = false;  // towards the client
  bool reading_ = false;
  bool keep_ = false;  // this connection to core can be used again
  uint32_t idle_since_s_ = 0;
};

class ProxyService {
 public:
  ProxyService(Host* host, CoreLink* link) : host_(host), link_(link) {}

  // As Host::begin.
  Exchange* begin(Connection* connection, const RequestHead& head, Refusal* refusal);
  void on_core_lost();
  // Time passes: closes what was idle for long.
  void sweep(uint32_t now_s);
  // Destroys what was closed in this turn.
  void bury() { buried_.clear(); }
  size_t size() const { return upstreams_.size(); }

 private:
  friend class Upstream;
  Upstream* connect(base::Status* status);
  base::Status hand_over(int fd) const;
  void closed(Upstream* upstream);

  Host* host_;
  CoreLink* link_;
  std::vector<std::unique_ptr<Upstream>> upstreams_;
  std::vector<Upstream*> idle_;
  std::vector<std::unique_ptr<Upstream>> buried_;
};

}  // namespace pyserver::gateway
