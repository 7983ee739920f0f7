// The sending half of an instance: responses, releases and finished batches go to core; what core
// hands back is freed.
//
// Responses may be sent from any thread (a decoupled model's own, the one in which Python collects
// garbage), so everything here is behind one lock. The channel's receiving half is the Executor's
// and is not touched here.
#pragma once

#include <condition_variable>
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
  // A client that reads slowly holds up the model that answers it only when this many of its answers wait; or this many bytes; or when
  // they are among those that fill half of the region.
  static constexpr uint64_t kMaxUnread = 8192;
  static constexpr uint64_t kMaxUnreadBytes = uint64_t{16} << 20;
  static constexpr uint64_t kFewUnread = 4;

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
  // Gives the request back unanswered, to have it once more (iterative sequences).
  void reschedule(Request& request);
  void send_batch_done(const shm::BatchDone& record);
  // A call's record (calls.h), published at once.
  template <typename T>
  void send_now(const T& record) {
    const std::lock_guard lock(mutex_);
    channel_.send(shm::pack(record));
    channel_.flush();
  }
  // Publishes what was sent; once per batch, or per response of a decoupled model.
  void flush();
  // How many records wait because core does not read.
  size_t backlog();

  // Whether so much of the request's responses is unread that no more should be made for now.
  bool crowded(const Request& request);
  // Until a response comes back, or a request is cancelled, or the time is over.
  void wait_for_return(uint64_t timeout_ns);
  // The most of one request's responses that may be unread; 0: as by default.
  void limit_unread(uint64_t responses);

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
    std::shared_ptr<Unread> unread;  // null for a last response: nothing waits for its return
    uint64_t byte_size = 0;
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
  void count_unread(Request& request, Lease* lease, uint64_t table_bytes);
  uint8_t final_flags(Request& request);

  std::shared_ptr<Memory> memory_;
  shm::ChannelEnd channel_;
  std::mutex mutex_;
  std::condition_variable returned_;
  uint64_t max_unread_ = kMaxUnread;
  std::vector<Lease> leases_;
  std::vector<uint32_t> free_leases_;
  std::vector<Request*> requests_;  // the live ones, in no order
  std::vector<std::unique_ptr<Request>> spare_requests_;
  shm::ResponseBuilder error_table_;
  // A ready table for the case that there is no memory to say that there is no memory.
  BufferRef exhausted_;
};

}  // namespace pyserver::instance
