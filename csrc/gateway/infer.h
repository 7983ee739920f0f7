// Inference over HTTP: a body in our region, a Submit to core, a Reply, an answer straight out of the regions.
//
//   begin ──> receiving ──body_complete: decode, Submit──> running ──final Reply: encode──> answering ──done──> (gone)
//                │    └──> waiting for its model to be loaded ─^ │ abandoned: Cancel
//                └────────> answering                         └──> running without a client ──final, released──> gone
//
// A slot is given back when the client has its answer (or is gone) *and* core has said that the reply is final and that nobody reads the
// request's memory any more; only then are its blocks freed, because an answer may refer to them.
//
// Thread safety: the gateway's one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/compression.h"
#include "gateway/connection.h"
#include "gateway/core_link.h"
#include "gateway/endpoints.h"
#include "gateway/exchange.h"
#include "gateway/host.h"
#include "gateway/loop.h"
#include "gateway/request_body.h"
#include "gateway/waiting_room.h"
#include "model/catalog.h"
#include "protocol/http_infer.h"
#include "shm/table.h"

namespace pyserver::gateway {

class InferService;

class InferExchange final : public Exchange, public WaitingRoom::Guest, private Watcher {
 public:
  InferExchange(InferService* service, uint32_t slot);
  InferExchange(const InferExchange&) = delete;
  InferExchange& operator=(const InferExchange&) = delete;
  ~InferExchange() override;

  // infer.cc: up to the Submit
  // `spec` is null while the model is not loaded; it is looked up again when the body has come.
  base::Status start(Connection* connection, const RequestHead& head, const Route& route,
                     std::shared_ptr<const model::ModelSpec> spec, Encoding encoding,
                     const SessionRef& session, uint64_t ticket);
  std::span<uint8_t> window() override { return body_.window(); }
  void received(size_t bytes) override { body_.received(bytes); }
  void take(std::span<const uint8_t> bytes) override;
  void body_complete() override;

  // infer_reply.cc: from the Reply on
  void on_reply(const shm::Reply& reply);
  void on_released();
  void on_core_lost();
  void done() override;
  void abandoned() override;
  void client_left() override;

  uint64_t ticket() const { return ticket_; }
  bool live() const { return live_; }

 private:
  friend class InferService;
  void called(base::Status status) override;
  base::Status find_model();
  void go_on(base::Status status);
  base::Status submit();
  void refuse(const base::Status& status);
  void take_response(const shm::Reply& reply);
  void take_error(const shm::Reply& reply, const shm::Mapping& region);
  void answer();
  void send_answer();
  void reply(uint64_t bytes);

  // infer_compress.cc: in slices, so that a large answer does not stop everybody else
  void start_compressing();
  void on_events(uint32_t events) override;  // compresses the next slice
  std::span<const uint8_t> next_slice();
  void cancel();
  void let_go();
  void return_lease();
  void settle();
  const shm::Mapping* region_of(uint32_t peer);
  std::optional<std::span<const uint8_t>> find_bytes(const shm::TensorEntry& entry);

  InferService* service_;
  const uint32_t slot_;
  uint64_t ticket_ = 0;
  bool live_ = false;

  // the request
  Connection* connection_ = nullptr;
  SessionRef session_;
  std::shared_ptr<const model::ModelSpec> spec_;
  std::string model_;    // as the path says
  std::string version_;  // likewise; mostly empty
  uint64_t epoch_ = 0;   // of the catalog, when `spec_` was found
  RequestBody body_;
  protocol::DecodedRequest request_;
  std::optional<std::string> header_length_;
  std::optional<uint64_t> table_;
  Encoding answer_encoding_ = Encoding::kIdentity;
  bool submitted_ = false;
  bool cancelled_ = false;

  // the answer
  bool final_ = false;
  bool released_ = false;
  bool answering_ = false;
  uint32_t response_count_ = 0;
  uint64_t lease_ = 0;
  base::Status error_;
  shm::ResponseView response_;
  protocol::FindBytes find_;
  protocol::EncodedResponse encoded_;
  std::optional<Deflater> deflater_;  // while the answer is being compressed
  size_t compressed_parts_ = 0;       // of encoded_: the JSON part, then each blob
  size_t compressed_offset_ = 0;      // in the part under way
  std::string compressed_;
  std::vector<iovec> parts_;
  std::vector<std::pair<uint32_t, shm::RegionRef>> held_;  // regions the answer refers to
};

class InferService {
 public:
  InferService(Host* host, CoreLink* link, model::Catalog* catalog, WaitingRoom* waiting_room)
      : host_(host), link_(link), catalog_(catalog), waiting_room_(waiting_room) {}

  // As Host::begin.
  Exchange* begin(Connection* connection, const RequestHead& head, const Route& route,
                  Refusal* refusal);
  // A record of core's.
  void on_record(const shm::Record& record);
  // Core is gone: everything under way is answered now. Call after the link has dropped its session.
  void on_core_lost();
  uint64_t inflight() const { return slots_.size() - free_.size(); }

 private:
  friend class InferExchange;
  base::Status find_model(std::string_view name, std::string_view version,
                          std::shared_ptr<const model::ModelSpec>* spec) const;
  InferExchange* take_slot(uint64_t* ticket);
  void return_slot(uint32_t slot);
  InferExchange* find(uint64_t ticket);

  Host* host_;
  CoreLink* link_;
  model::Catalog* catalog_;
  WaitingRoom* waiting_room_;
  protocol::InferDecoder decoder_;
  std::deque<InferExchange> slots_;  // addresses are stable
  std::vector<uint32_t> free_;
  uint64_t sequence_ = 0;
};

}  // namespace pyserver::gateway
