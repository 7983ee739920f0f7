// Gathered writing.
#include "gateway/h2/outbox.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

namespace pyserver::gateway::h2 {

namespace {

constexpr size_t kMaxParts = 64;        // of one sendmsg
constexpr size_t kKeptBytes = 1 << 16;  // of the buffer, when all is written

}  // namespace

void Outbox::append(const uint8_t* bytes, size_t size) {
  if (size == 0) return;
  if (first_ < pieces_.size() && pieces_.back().bytes == nullptr) {
    pieces_.back().size += size;
  } else {
    pieces_.push_back({nullptr, buffer_begin_ + buffer_.size(), size, nullptr});
  }
  buffer_.append(reinterpret_cast<const char*>(bytes), size);
  unsent_ += size;
}

void Outbox::refer(std::span<const uint8_t> bytes, std::shared_ptr<const void> holder) {
  if (bytes.empty()) return;
  pieces_.push_back({bytes.data(), 0, bytes.size(), std::move(holder)});
  unsent_ += bytes.size();
}

const uint8_t* Outbox::address(const Piece& piece) const {
  if (piece.bytes != nullptr) return piece.bytes;
  return reinterpret_cast<const uint8_t*>(buffer_.data()) + (piece.at - buffer_begin_);
}

Outbox::Result Outbox::flush(Socket* socket, Counters* counters) {
  while (unsent_ > 0) {
    iovec parts[kMaxParts];
    size_t count = 0;
    for (size_t at = first_; at < pieces_.size() && count < kMaxParts; ++at) {
      parts[count++] = {const_cast<uint8_t*>(address(pieces_[at])), pieces_[at].size};  // only read
    }
    ++counters->send_calls;
    const ssize_t written = socket->send({parts, count});
    if (written < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) return Result::kDead;
      compact();
      return Result::kBlocked;
    }
    sent(static_cast<size_t>(written));
  }
  clear();
  return Result::kDone;
}

void Outbox::sent(size_t bytes) {
  unsent_ -= bytes;
  while (bytes > 0) {
    Piece& piece = pieces_[first_];
    const size_t step = std::min(bytes, piece.size);
    bytes -= step;
    piece.size -= step;
    if (piece.bytes != nullptr) {
      piece.bytes += step;
    } else {
      piece.at += step;
    }
    if (piece.size == 0) {
      piece.holder.reset();
      ++first_;
    }
  }
}

// Forgets what is written, so that a client that reads slowly for ever does not make us grow.
void Outbox::compact() {
  pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<ptrdiff_t>(first_));
  first_ = 0;
  uint64_t keep_from = buffer_begin_ + buffer_.size();
  for (const Piece& piece : pieces_) {
    if (piece.bytes != nullptr) continue;
    keep_from = piece.at;
    break;
  }
  buffer_.erase(0, keep_from - buffer_begin_);
  buffer_begin_ = keep_from;
}

void Outbox::clear() {
  pieces_.clear();
  first_ = 0;
  unsent_ = 0;
  buffer_.clear();
  buffer_begin_ = 0;
  if (buffer_.capacity() > kKeptBytes) std::string().swap(buffer_);
}

}  // namespace pyserver::gateway::h2
