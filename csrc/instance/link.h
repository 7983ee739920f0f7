// The sending half of an instance: responses, releases and finished batches go to core; what core
// hands back is freed.
//
// Responses may be sent from any thread (a decoupled model's own, the one in which Python collects
// garbage), so everything here is behind one lock. The channel's receiving half is the Executor's
// and is not touched here.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/status.h"
#include "instance/memory.h"
#include "instance/request.h"
#include "shm/channel.h"
#include "shm/table.h"

namespace pyserver::instance {

class Link : public std::enable_shared_from_this<Link> {
 public:
  // `fds` and `region_fd` stay the caller's.
  static base::Status open(const shm::ChannelFds& fds, int region_fd, uint64_t budget_bytes,
                           uint64_t keep_bytes, std::shared_ptr<Link>* link);

  const std::shared_ptr<Memory>& memory() const { return memory_; }
  // For the Executor: its receiving half only.
  shm::ChannelEnd& channel() { return channel_; }

  // A request that ends without a final response gets an error as one, so that no client waits for ever.
  RequestRef make_request(const shm::Execute& record);

  // Sends one response. `buffers` are kept until core hands the response back; outputs by reference
  // need none. What comes after the final response is ignored. A response that does not fit into
  // the region becomes an error that says so.
  void respond(Request& request, std::span<const uint8_t> table, std::vector<BufferRef> buffers,
               bool final);
  // Sends an error, which is final unless said otherwise.
  void fail(Request& request, const base::Status& status, bool final = true);
  // Sends the final mark of a request whose responses were sent before (or that has none).
  void finish(Request& request);
  void send_batch_done(const shm::BatchDone& record);
  // Publishes what was sent; once per batch, or per response of a decoupled model.
  void flush();
  // How many records wait because core does not read.
  size_t backlog();

  // Core's words, passed on by the Executor.
  void returned(uint64_t cookie);
  void cancelled(uint64_t ticket);

  // How many responses core has not handed back, and how many requests are alive; for leak tests.
  size_t lease_count();
  size_t request_count();

 private:
  friend class Request;
  friend class Hold;
  struct Lease {
    uint32_t generation = 1;
    bool used = false;
    uint64_t table_offset = 0;
    std::vector<BufferRef> buffers;
  };

  Link() = default;
  base::Status write_exhausted_table();

  // When the last reference is gone.
  static void end_request(Request* request);
  [[nodiscard]] bool add_hold(Request* request);
  void drop_hold(Request* request);

  // With mutex_ held:
  void send_table(Request& request, std::span<const uint8_t> table, std::vector<BufferRef>* buffers,
                  uint8_t flags, base::Code code);
  uint64_t make_lease(uint64_t table_offset, std::vector<BufferRef>* buffers);
  uint8_t final_flags(Request& request);

  std::shared_ptr<Memory> memory_;
  shm::ChannelEnd channel_;
  std::mutex mutex_;
  std::vector<Lease> leases_;
  std::vector<uint32_t> free_leases_;
  std::vector<Request*> requests_;  // the live ones, in no order
  std::vector<std::unique_ptr<Request>> spare_requests_;
  shm::ResponseBuilder error_table_;
  // A ready table for the case that there is no memory to say that there is no memory.
  BufferRef exhausted_;
};

}  // namespace pyserver::instance
