// Slices of messages through zlib.
#include "gateway/h2/message_compressor.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "protocol/grpc/framing.h"

namespace pyserver::gateway::h2 {

namespace {

using protocol::grpc::kPrefixBytes;

constexpr size_t kSliceBytes = 256u << 10;  // some milliseconds of zlib's work

// The compressed form. It keeps the original: what a response holds is given back when it is written, however it is written, so that
// whoever makes responses for a client that does not read is held up all the same.
struct CompressedChunk final : Chunk {
  CompressedChunk(std::string text, std::shared_ptr<const Chunk> from)
      : bytes(std::move(text)), original(std::move(from)) {
    spans.push_back({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  }
  const std::string bytes;
  const std::shared_ptr<const Chunk> original;
};

bool lists(std::string_view names, std::string_view name) {
  while (!names.empty()) {
    const size_t comma = std::min(names.find(','), names.size());
    std::string_view one = names.substr(0, comma);
    while (one.starts_with(' ')) one.remove_prefix(1);
    while (one.ends_with(' ')) one.remove_suffix(1);
    if (one == name) return true;
    names.remove_prefix(std::min(comma + 1, names.size()));
  }
  return false;
}

}  // namespace

Encoding encoding_for_level(CompressionLevel level, std::string_view accepted) {
  if (level == CompressionLevel::kNone) return Encoding::kIdentity;
  const bool gzip = lists(accepted, "gzip");
  const bool deflate = lists(accepted, "deflate");
  if (deflate && (level != CompressionLevel::kLow || !gzip)) return Encoding::kDeflate;
  return gzip ? Encoding::kGzip : Encoding::kIdentity;
}

void MessageCompressor::send(std::shared_ptr<const Chunk> message) {
  waiting_bytes_ += message->byte_size();
  waiting_.push_back(std::move(message));
  if (!asked_) work();
}

void MessageCompressor::end(std::function<void()> then) {
  then_ = std::move(then);
  if (!asked_) work();
}

void MessageCompressor::clear() {
  waiting_.clear();
  waiting_bytes_ = 0;
  then_ = nullptr;
  deflater_.reset();
}

void MessageCompressor::work() {
  asked_ = false;
  size_t budget = kSliceBytes;
  while (!waiting_.empty()) {
    if (budget == 0) {
      asked_ = true;
      loop_->again(this);
      return;
    }
    if (!deflater_) {
      deflater_.emplace(encoding_);
      made_.assign(kPrefixBytes, '\0');
      span_ = 0;
      offset_ = kPrefixBytes;  // the original's prefix
    }
    compress_some(&budget);
  }
  if (then_) std::exchange(then_, nullptr)();
}

// Of the first message, as much as the budget allows.
void MessageCompressor::compress_some(size_t* budget) {
  const Chunk& message = *waiting_.front();
  const size_t limit = message.byte_size();
  while (*budget > 0) {
    while (span_ < message.spans.size() && offset_ >= message.spans[span_].size()) {
      offset_ -= message.spans[span_].size();
      ++span_;
    }
    const bool last = span_ == message.spans.size();
    std::span<const uint8_t> piece;
    if (!last) {
      const std::span<const uint8_t> rest = message.spans[span_].subspan(offset_);
      piece = rest.first(std::min(rest.size(), *budget));
    }
    if (!deflater_->feed(piece, last, &made_) || made_.size() >= limit) {
      message_done(false);
      return;
    }
    offset_ += piece.size();
    *budget -= piece.size();
    if (last) {
      message_done(true);
      return;
    }
  }
}

void MessageCompressor::message_done(bool smaller) {
  std::shared_ptr<const Chunk> message = std::move(waiting_.front());
  waiting_.pop_front();
  waiting_bytes_ -= message->byte_size();
  deflater_.reset();
  if (smaller) {
    const auto prefix =
        protocol::grpc::make_prefix({true, static_cast<uint32_t>(made_.size() - kPrefixBytes)});
    std::memcpy(made_.data(), prefix.data(), prefix.size());
    message = std::make_shared<CompressedChunk>(std::move(made_), std::move(message));
    made_ = {};
  }
  deliver_(std::move(message));
}

}  // namespace pyserver::gateway::h2
