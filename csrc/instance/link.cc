// Sending responses and keeping the books of what core holds.
#include "instance/link.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

namespace pyserver::instance {

namespace {

// How many ended requests keep their storage for new ones.
constexpr size_t kSpareRequests = 256;

}  // namespace

base::Status Link::open(const shm::ChannelFds& fds, int region_fd, uint64_t budget_bytes,
                        uint64_t keep_bytes, std::shared_ptr<Link>* link) {
  std::shared_ptr<Link> made(new Link);
  base::Status status = shm::ChannelEnd::open(fds, shm::Side::kPeer, &made->channel_);
  if (!status.ok()) return status;
  status = Memory::open(made->channel_.peer(), region_fd, budget_bytes, keep_bytes, &made->memory_);
  if (!status.ok()) return status;
  status = made->write_exhausted_table();
  if (status.ok()) *link = std::move(made);
  return status;
}

base::Status Link::write_exhausted_table() {
  error_table_.set_message(
      "the instance's shared memory is exhausted: the response does not fit (see "
      "region-byte-size)");
  const std::span<const uint8_t> table = error_table_.finish();
  exhausted_ = memory_->make_buffer(table.size());
  if (exhausted_ == nullptr) return base::internal_error("the instance's region is too small");
  std::memcpy(exhausted_->data(), table.data(), table.size());
  return {};
}

void Link::respond(Request& request, std::span<const uint8_t> table, std::vector<BufferRef> buffers,
                   bool final) {
  const std::lock_guard lock(mutex_);
  if (request.answered()) return;
  const uint8_t flags = final ? final_flags(request) : uint8_t{0};
  send_table(request, table, &buffers, flags, base::Code::kUnknown);
}

void Link::fail(Request& request, const base::Status& status, bool final) {
  const std::lock_guard lock(mutex_);
  if (request.answered()) return;
  error_table_.clear();
  error_table_.set_message(status.message());
  const uint8_t flags = static_cast<uint8_t>(shm::kError | (final ? final_flags(request) : 0));
  send_table(request, error_table_.finish(), nullptr, flags, status.code());
}

void Link::finish(Request& request) {
  const std::lock_guard lock(mutex_);
  if (request.answered()) return;
  shm::Response record;
  record.flags = static_cast<uint8_t>(shm::kEmpty | final_flags(request));
  record.ticket = request.ticket();
  channel_.send(shm::pack(record));
}

void Link::reschedule(Request& request) {
  const std::lock_guard lock(mutex_);
  if (request.answered()) return;
  request.answered_.store(true, std::memory_order_release);
  request.released_ = true;
  shm::Release record;
  record.flags = shm::kReschedule;
  record.ticket = request.ticket();
  channel_.send(shm::pack(record));
}

uint8_t Link::final_flags(Request& request) {
  request.answered_.store(true, std::memory_order_release);
  if (request.holds_ > 0) return shm::kFinal;
  request.released_ = true;
  return shm::kFinal | shm::kReleasedFlag;
}

void Link::send_table(Request& request, std::span<const uint8_t> table,
                      std::vector<BufferRef>* buffers, uint8_t flags, base::Code code) {
  shm::Response record;
  record.flags = flags;
  record.code = static_cast<uint8_t>(code);
  record.ticket = request.ticket();
  if (const std::optional<uint64_t> offset = memory_->allocate(table.size())) {
    std::memcpy(memory_->data() + *offset, table.data(), table.size());
    record.table_bytes = static_cast<uint32_t>(table.size());
    record.table_offset = *offset;
    record.cookie = make_lease(*offset, buffers);
    Lease& lease = leases_[static_cast<uint32_t>(record.cookie)];
    if ((flags & shm::kFinal) == 0) count_unread(request, &lease, table.size());
  } else {  // shared by all who meet this, and never freed: no cookie
    record.flags |= shm::kError;
    record.code = static_cast<uint8_t>(base::Code::kUnavailable);
    record.table_bytes = static_cast<uint32_t>(exhausted_->byte_size());
    record.table_offset = exhausted_->offset();
  }
  request.response_count_.fetch_add(1, std::memory_order_relaxed);
  channel_.send(shm::pack(record));
}

uint64_t Link::make_lease(uint64_t table_offset, std::vector<BufferRef>* buffers) {
  if (free_leases_.empty()) {
    free_leases_.push_back(static_cast<uint32_t>(leases_.size()));
    leases_.emplace_back();
  }
  const uint32_t slot = free_leases_.back();
  free_leases_.pop_back();
  Lease& lease = leases_[slot];
  lease.used = true;
  lease.table_offset = table_offset;
  if (buffers != nullptr) lease.buffers = std::move(*buffers);
  return uint64_t{lease.generation} << 32 | slot;  // generations start at 1, so never 0
}

void Link::count_unread(Request& request, Lease* lease, uint64_t table_bytes) {
  if (request.unread_ == nullptr) request.unread_ = std::make_shared<Unread>();
  lease->byte_size = table_bytes;
  for (const BufferRef& buffer : lease->buffers) lease->byte_size += buffer->byte_size();
  lease->unread = request.unread_;
  ++lease->unread->responses;
  lease->unread->bytes += lease->byte_size;
}

bool Link::crowded(const Request& request) {
  const std::lock_guard lock(mutex_);
  if (request.unread_ == nullptr || request.cancelled()) return false;
  const Unread& unread = *request.unread_;
  const uint64_t most =
      request.max_unread() != 0 ? std::min(request.max_unread(), max_unread_) : max_unread_;
  if (unread.responses >= most || unread.bytes >= kMaxUnreadBytes) return true;
  return unread.responses >= kFewUnread && memory_->used_bytes() > memory_->budget_bytes() / 2;
}

void Link::wait_for_return(uint64_t timeout_ns) {
  std::unique_lock lock(mutex_);
  returned_.wait_for(lock, std::chrono::nanoseconds(timeout_ns));
}

void Link::limit_unread(uint64_t responses) {
  const std::lock_guard lock(mutex_);
  max_unread_ = responses == 0 ? kMaxUnread : std::min(responses, kMaxUnread);
}

void Link::returned(uint64_t cookie) {
  const std::lock_guard lock(mutex_);
  const auto slot = static_cast<uint32_t>(cookie);
  if (slot >= leases_.size()) return;
  Lease& lease = leases_[slot];
  if (!lease.used || lease.generation != cookie >> 32)
    return;  // twice, or nonsense: nothing to free
  lease.used = false;
  if (++lease.generation == 0) lease.generation = 1;
  memory_->free(lease.table_offset);
  lease.buffers.clear();
  free_leases_.push_back(slot);
  if (lease.unread == nullptr) return;
  --lease.unread->responses;
  lease.unread->bytes -= lease.byte_size;
  lease.unread.reset();
  returned_.notify_all();
}

void Link::send_batch_done(const shm::BatchDone& record) {
  const std::lock_guard lock(mutex_);
  channel_.send(shm::pack(record));
}

void Link::flush() {
  const std::lock_guard lock(mutex_);
  channel_.flush();
}

size_t Link::backlog() {
  const std::lock_guard lock(mutex_);
  return channel_.backlog();
}

void Link::cancelled(uint64_t ticket) {
  const std::lock_guard lock(mutex_);
  for (Request* request : requests_) {
    if (request->ticket() == ticket) request->cancelled_.store(true, std::memory_order_relaxed);
  }
  returned_.notify_all();
}

RequestRef Link::make_request(const shm::Execute& record) {
  std::unique_ptr<Request> request;
  const std::lock_guard lock(mutex_);
  if (spare_requests_.empty()) {
    request = std::make_unique<Request>();
  } else {
    request = std::move(spare_requests_.back());
    spare_requests_.pop_back();
  }
  request->open(shared_from_this(), record);
  request->slot_ = requests_.size();
  Request* const opened = request.release();
  requests_.push_back(opened);
  return RequestRef(opened, &Link::end_request);
}

void Link::end_request(Request* request) {
  std::unique_ptr<Request> owned(request);
  const std::shared_ptr<Link> link = owned->link_;  // it lives on here while its request is closed
  if (!owned->answered()) {
    link->fail(*owned, base::internal_error("the model dropped the request without answering it"));
    link->flush();
  }
  owned->close();
  const std::lock_guard lock(link->mutex_);
  link->requests_[owned->slot_] = link->requests_.back();
  link->requests_[owned->slot_]->slot_ = owned->slot_;
  link->requests_.pop_back();
  if (link->spare_requests_.size() < kSpareRequests)
    link->spare_requests_.push_back(std::move(owned));
}

bool Link::add_hold(Request* request) {
  const std::lock_guard lock(mutex_);
  if (request->released_) return false;
  ++request->holds_;
  return true;
}

void Link::drop_hold(Request* request) {
  const std::lock_guard lock(mutex_);
  if (--request->holds_ > 0 || !request->answered() || request->released_) return;
  request->released_ = true;
  shm::Release record;
  record.ticket = request->ticket();
  channel_.send(shm::pack(record));
  channel_.flush();
}

size_t Link::lease_count() {
  const std::lock_guard lock(mutex_);
  return leases_.size() - free_leases_.size();
}

size_t Link::request_count() {
  const std::lock_guard lock(mutex_);
  return requests_.size();
}

}  // namespace pyserver::instance
