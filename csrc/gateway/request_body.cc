// Bodies in our region.
#include "gateway/request_body.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace pyserver::gateway {

namespace {

constexpr uint64_t kFirstBlock = 16384;

uint64_t pad_for(uint64_t json_bytes) {
  const uint64_t alignment = shm::Allocator::kAlignment;
  return (alignment - json_bytes % alignment) % alignment;
}

}  // namespace

base::Status region_full(const CoreSession& session, uint64_t bytes) {
  return base::unavailable("the frontend's shared memory is full: " + std::to_string(bytes) +
                           " bytes needed, " + std::to_string(session.allocator.used_bytes()) +
                           " of " + std::to_string(session.region.size()) +
                           " in use; see --region-byte-size");
}

base::Status RequestBody::allocate(uint64_t bytes) {
  const std::optional<uint64_t> block = session_->allocator.allocate(bytes);
  if (!block) return region_full(*session_, bytes);
  block_ = block;
  capacity_ = session_->allocator.capacity(*block) - pad_;
  return {};
}

base::Status RequestBody::begin_exact(const SessionRef& session, uint64_t length,
                                      uint64_t json_bytes) {
  session_ = session;
  exact_ = true;
  length_ = length;
  size_ = 0;
  pad_ = pad_for(json_bytes);
  if (length > session->region.size()) return region_full(*session, length);
  return allocate(pad_ + length + kPadding);
}

void RequestBody::begin_growing(const SessionRef& session, Encoding encoding, uint64_t json_bytes,
                                uint64_t limit) {
  session_ = session;
  exact_ = over_limit_ = false;
  size_ = 0;
  capacity_ = 0;
  limit_ = limit;
  pad_ = pad_for(json_bytes);
  if (encoding != Encoding::kIdentity) inflater_ = std::make_unique<Inflater>(encoding);
}

std::span<uint8_t> RequestBody::window() {
  if (!exact_) return {};
  return {data() + size_, length_ - size_};
}

base::Status RequestBody::take(std::span<const uint8_t> bytes, uint64_t* copied) {
  const uint64_t before = size_;
  base::Status status;
  if (inflater_ != nullptr) {
    status =
        inflater_->feed(bytes, [this](std::span<const uint8_t> piece) { return append(piece); });
  } else {
    status = append(bytes);
  }
  *copied += size_ - before;
  return status;
}

base::Status RequestBody::append(std::span<const uint8_t> bytes) {
  if (exact_) {
    if (bytes.size() > length_ - size_)
      return base::internal_error("a body is longer than announced");
  } else {
    const uint64_t needed = size_ + bytes.size();
    if (needed > limit_) {
      over_limit_ = true;
      const std::string_view what = inflater_ != nullptr ? "decompressed request" : "request JSON";
      return base::invalid_argument(std::string(what) + " size of " + std::to_string(needed) +
                                    " bytes exceeds the maximum allowed input size of " +
                                    std::to_string(limit_) +
                                    " bytes. Use --http-max-input-size to increase the limit.");
    }
    if (needed + kPadding > capacity_) {
      base::Status status = grow(needed);
      if (!status.ok()) return status;
    }
  }
  std::memcpy(data() + size_, bytes.data(), bytes.size());
  size_ += bytes.size();
  return {};
}

base::Status RequestBody::grow(uint64_t needed) {
  const std::optional<uint64_t> old = block_;
  const uint64_t wanted = std::min(limit_, std::max(kFirstBlock, 2 * capacity_));
  base::Status status = allocate(pad_ + std::max(needed, wanted) + kPadding);
  if (!status.ok() && wanted > needed)
    status = allocate(pad_ + needed + kPadding);  // at least what is there
  if (!status.ok()) return status;
  if (old) {
    std::memcpy(data(), session_->region.data() + *old + pad_, size_);
    session_->allocator.free(*old);
  }
  return {};
}

base::Status RequestBody::complete() {
  if (inflater_ != nullptr) {
    base::Status status = inflater_->finish();
    if (!status.ok()) return status;
  }
  // An empty body has a place all the same, so that nobody has to think of it.
  return block_ ? base::Status() : allocate(pad_ + kPadding);
}

void RequestBody::clear() {
  if (block_) session_->allocator.free(*block_);
  block_.reset();
  inflater_.reset();
  session_.reset();
  pad_ = size_ = length_ = capacity_ = limit_ = 0;
  exact_ = false;
}

}  // namespace pyserver::gateway
