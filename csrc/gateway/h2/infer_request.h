// One inference request that came as a gRPC message: its memory, its place in core, its responses.
//
// Whoever needs the request's memory holds it: the table of requests until core has said that it is final and that nobody reads it any
// more, and each answer that refers to it until it is written. The last one to let go frees the blocks.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/core_link.h"
#include "gateway/h2/stream.h"
#include "gateway/host.h"
#include "gateway/request_body.h"
#include "gateway/waiting_room.h"
#include "model/catalog.h"
#include "protocol/grpc/infer.h"
#include "shm/layout.h"
#include "shm/table.h"

namespace pyserver::gateway::h2 {

class InferRequest;

// One response of core's: what it holds goes back when it is destroyed, that is when it is written or not wanted.
class InferResponse final : public Chunk {
 public:
  explicit InferResponse(SessionRef session) : session_(std::move(session)) {}
  ~InferResponse() override;
  InferResponse(const InferResponse&) = delete;
  InferResponse& operator=(const InferResponse&) = delete;

  // Reads the record's table. The status is the request's error, if the record tells of one.
  base::Status read(const shm::Reply& reply, const model::ModelSpec& spec, Counters* counters);
  // Makes `spans`; from here on it holds the request.
  base::Status encode(std::shared_ptr<const InferRequest> request);
  base::Status encode_for_stream(std::shared_ptr<const InferRequest> request, bool final);
  uint64_t byte_size() const { return encoded_.byte_size; }

 private:
  const shm::Mapping* region_of(uint32_t peer);
  base::Status take_spans(base::Status status);
  protocol::FindBytes finder();

  SessionRef session_;
  uint64_t lease_ = 0;
  shm::ResponseView view_;
  std::shared_ptr<const InferRequest> request_;
  protocol::grpc::EncodedMessage encoded_;
  std::vector<std::pair<uint32_t, shm::RegionRef>> held_;
};

// Who waits for the responses.
struct InferOwner {
  // The request has waited for its model, which can be looked up now (InferRequests::find_model), or why it was not loaded.
  virtual void on_called(InferRequest* request, base::Status status) = 0;
  // `response` is null when the record carries none. After `final` the request is not spoken of again.
  virtual void on_response(InferRequest* request, std::shared_ptr<InferResponse> response,
                           base::Status status, bool final) = 0;

 protected:
  ~InferOwner() = default;
};

class InferRequest final : public WaitingRoom::Guest {
 public:
  explicit InferRequest(SessionRef core) : session(std::move(core)) {}
  ~InferRequest();
  InferRequest(const InferRequest&) = delete;
  InferRequest& operator=(const InferRequest&) = delete;

  SessionRef session;
  RequestBody body;
  protocol::grpc::DecodedRequest decoded;
  std::shared_ptr<const model::ModelSpec> spec;
  std::string model_name;  // as the message says
  std::string model_version;
  std::string id;
  InferOwner* owner = nullptr;

 private:
  friend class InferRequests;
  void called(base::Status status) override { owner->on_called(this, std::move(status)); }

  std::optional<uint64_t> table_;
  uint64_t ticket_ = 0;
  bool whole_ = false;  // all of its bytes are in `body`
  bool submitted_ = false;
  bool cancelled_ = false;
  bool final_ = false;
  bool released_ = false;
};

using InferRef = std::shared_ptr<InferRequest>;

// The requests that core knows of, by ticket.
class InferRequests {
 public:
  // Marks the tickets of this table among those of the frontend.
  static constexpr uint64_t kMark = uint64_t{1} << 63;

  InferRequests(Host* host, CoreLink* link, model::Catalog* catalog, WaitingRoom* waiting_room)
      : host_(host), link_(link), catalog_(catalog), waiting_room_(waiting_room) {}

  const SessionRef& session() const { return link_->session(); }
  // A message is complete: what it asks for. Sets model, version and id of the request, whose owner is known, and then as below.
  base::Status identify(InferRequest* request);
  // Sets `spec`; or the request waits() for its model to be loaded, and its owner is called.
  base::Status find_model(InferRequest* request);
  base::Status submit(const InferRef& request);
  // What a client is told of a request that the above refused: a message that is none, wherever it is broken, was refused by Triton
  // before anyone looked into it.
  base::Status refusal(const InferRequest& request, base::Status status) const;
  // Its owner does not want it any more.
  void abandon(InferRequest* request);
  void on_record(const shm::Record& record);
  void on_core_lost();
  uint64_t size() const { return slots_.size() - free_.size(); }
  Host* host() const { return host_; }

 private:
  base::Status decode(const InferRef& request);
  base::Status enter(const InferRef& request);
  InferRef find(uint64_t ticket) const;
  void on_reply(const InferRef& request, const shm::Reply& reply);
  void settle(const InferRef& request);

  Host* host_;
  CoreLink* link_;
  model::Catalog* catalog_;
  WaitingRoom* waiting_room_;
  protocol::grpc::InferDecoder decoder_;
  // Storage for the table of the request that is being submitted: nobody asks for it after that.
  shm::RequestBuilder table_;
  std::vector<InferRef> slots_;
  std::vector<uint32_t> free_;
  uint64_t sequence_ = 0;
};

}  // namespace pyserver::gateway::h2
