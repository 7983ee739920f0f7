// gRPC at the gateway: all HTTP/2 connections, and where their calls go.
//
//   Session ──stream──> Policy ──┬─ ModelInfer ───────> InferUnary  ─┐
//                                ├─ ModelStreamInfer ─> InferStream ─┴─> InferRequests ──rings──> core
//                                └─ all others ───────> ProxyCall ──HTTP/2──> core's grpc.aio
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "gateway/h2/infer_request.h"
#include "gateway/h2/session.h"
#include "gateway/h2/upstream.h"
#include "gateway/owned_list.h"
#include "gateway/policy.h"

namespace pyserver::gateway::h2 {

class Server final : public SessionHost {
 public:
  // `policy` outlives the server.
  Server(Host* host, const Policy* policy, CoreLink* link, model::Catalog* catalog,
         WaitingRoom* waiting_room)
      : host_(host),
        policy_(policy),
        requests_(host, link, catalog, waiting_room),
        proxy_(host, &queue_) {}
  ~Server();

  // A client that speaks HTTP/2; `received` has been read already.
  void adopt(Socket socket, std::span<const uint8_t> received);
  // Where all that is not inference goes.
  void connect_to(base::UniqueFd link_fd) { proxy_.connect_to(std::move(link_fd)); }
  void set_serving(bool serving) { serving_ = serving; }
  // Whether a record of core's is about a request of this half.
  static bool owns(const shm::Record& record) {
    return (shm::unpack<shm::Released>(record).ticket & InferRequests::kMark) != 0;
  }
  void on_record(const shm::Record& record) { requests_.on_record(record); }
  void on_core_lost();
  void drain();
  void end_streams();
  void sweep(uint32_t now_s);
  // Ends the calls whose clients have set a deadline that has passed.
  void end_overdue(uint64_t now_ns);
  uint64_t next_deadline_ns() const {
    return deadlines_.empty() ? UINT64_MAX : deadlines_.begin()->first;
  }
  // Writes what this turn has brought about.
  void flush();
  // Destroys what has ended in this turn.
  void bury();
  // flush() has left something for the next turn.
  bool pending() const { return !queue_.empty(); }
  size_t connection_count() const { return sessions_.size(); }
  uint64_t inflight() const { return requests_.size(); }

 private:
  void begin_call(Stream* stream) override;
  void end_call(Stream* stream) override;
  void route(Stream* stream);
  void session_closed(Session* session) override;
  bool admits(Stream* stream, Handler* handler) const;

  Host* host_;
  const Policy* policy_;
  FlushQueue queue_;
  FlushQueue flushing_;
  InferRequests requests_;
  ProxyService proxy_;
  bool serving_ = false;
  bool ends_streams_ = false;
  OwnedList<Session> sessions_;
  std::set<std::pair<uint64_t, Stream*>> deadlines_;
  std::vector<std::unique_ptr<Session>> buried_;
};

}  // namespace pyserver::gateway::h2
