// The body of an inference request in our region: of known length, received in place; or growing, when it is chunked or compressed.
//
//   block ──┬─ pad ─┬─ JSON part ─┬─ binary part ─┬─ kPadding ─┐
//                                 └ on a 64-byte boundary, so that the first tensor is aligned
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "base/status.h"
#include "gateway/compression.h"
#include "gateway/core_link.h"

namespace pyserver::gateway {

class RequestBody {
 public:
  static constexpr uint64_t kPadding = 64;  // may be read behind the body by the JSON parser

  // A body of exactly `length` bytes whose first `json_bytes` are JSON.
  base::Status begin_exact(const SessionRef& session, uint64_t length, uint64_t json_bytes);
  // A body of unknown length, at most `limit` bytes (after decompression).
  void begin_growing(const SessionRef& session, Encoding encoding, uint64_t json_bytes,
                     uint64_t limit);

  // Where a body of known length goes on.
  std::span<uint8_t> window();
  void received(size_t bytes) { size_ += bytes; }
  // Copies; *copied counts the bytes put into the region.
  base::Status take(std::span<const uint8_t> bytes, uint64_t* copied);
  base::Status complete();

  uint64_t offset() const { return block_.value_or(0) + pad_; }
  uint64_t size() const { return size_; }
  uint64_t capacity() const { return capacity_; }
  uint64_t limit() const { return limit_; }
  // Why take() has refused: there is more than that.
  bool over_limit() const { return over_limit_; }
  // Gives the memory back.
  void clear();

 private:
  base::Status append(std::span<const uint8_t> bytes);
  base::Status grow(uint64_t needed);
  base::Status allocate(uint64_t bytes);
  uint8_t* data() const { return session_->region.data() + offset(); }

  SessionRef session_;
  std::optional<uint64_t> block_;
  std::unique_ptr<Inflater> inflater_;
  uint64_t pad_ = 0;
  uint64_t size_ = 0;
  uint64_t length_ = 0;    // of an exact one
  uint64_t capacity_ = 0;  // from offset() on
  uint64_t limit_ = 0;
  bool exact_ = false;
  bool over_limit_ = false;
};

// Refuses because our own region is full.
base::Status region_full(const CoreSession& session, uint64_t bytes);

}  // namespace pyserver::gateway
