// A ring of records with one writer and one reader in different processes.
//
// Thread safety: RingWriter and RingReader each belong to one thread. The order of the atomics is the whole protocol: records are
// published by a store of `tail`, consumed by a release store of `head`; `tail` and `asleep` are sequentially consistent where a reader
// falls asleep, so that either the reader sees the record or the writer sees the sleep.
#pragma once

#include <cstdint>
#include <cstring>

#include "shm/layout.h"

namespace pyserver::shm {

class RingWriter {
 public:
  RingWriter() = default;
  explicit RingWriter(void* memory)
      : header_(static_cast<RingHeader*>(memory)),
        records_(reinterpret_cast<Record*>(static_cast<char*>(memory) + sizeof(RingHeader))),
        tail_(header_->tail.load(std::memory_order_relaxed)) {}

  // Puts the record into the ring without publishing it; false when the ring is full.
  bool try_put(const Record& record) {
    if (tail_ - head_ >= kRingCapacity) {
      head_ = header_->head.load(std::memory_order_acquire);  // the reader is done with those slots
      // A reader that writes nonsense here harms only its own ring: distances beyond the capacity count as full.
      if (tail_ - head_ >= kRingCapacity) return false;
    }
    std::memcpy(&records_[tail_ % kRingCapacity], &record, kRecordBytes);
    ++tail_;
    return true;
  }

  uint64_t free_slots() {
    head_ = header_->head.load(std::memory_order_acquire);
    const uint64_t used = tail_ - head_;
    return used >= kRingCapacity ? 0 : kRingCapacity - used;
  }

  // Publishes what was put. True: the reader sleeps and has not been rung yet for this sleep, so ring its doorbell.
  [[nodiscard]] bool publish() {
    // Sequentially consistent, like the two in RingReader::sleep: one of us must see what the other wrote.
    header_->tail.store(tail_, std::memory_order_seq_cst);
    const uint64_t asleep = header_->asleep.load(std::memory_order_seq_cst);
    if (asleep == 0 || asleep == rung_) return false;
    rung_ = asleep;
    return true;
  }
  // When the doorbell is rung, just before.
  void note_ring(uint64_t now_ns) { header_->rung_ns.store(now_ns, std::memory_order_relaxed); }

 private:
  RingHeader* header_ = nullptr;
  Record* records_ = nullptr;
  uint64_t tail_ = 0;
  uint64_t head_ = 0;
  uint64_t rung_ = 0;
};

class RingReader {
 public:
  RingReader() = default;
  explicit RingReader(void* memory)
      : header_(static_cast<RingHeader*>(memory)),
        records_(reinterpret_cast<Record*>(static_cast<char*>(memory) + sizeof(RingHeader))),
        head_(header_->head.load(std::memory_order_relaxed)) {}

  // Copies the next record out; false when there is none. Call commit() after a run of takes.
  bool try_take(Record* record) {
    if (head_ == tail_) {
      tail_ = header_->tail.load(std::memory_order_acquire);  // the records up to here are written
      if (head_ == tail_) return false;
      if (tail_ - head_ >
          kRingCapacity) {  // a broken writer: nothing it says can be believed any more
        broken_ = true;
        tail_ = head_;
        return false;
      }
    }
    std::memcpy(record, &records_[head_ % kRingCapacity], kRecordBytes);
    ++head_;
    return true;
  }

  bool has_records() const {
    return head_ != tail_ || header_->tail.load(std::memory_order_relaxed) != head_;
  }

  // Gives the slots of the records taken so far back to the writer.
  void commit() { header_->head.store(head_, std::memory_order_release); }

  // Declares that this reader waits for its doorbell. False: something arrived meanwhile, take it instead (and call wake()).
  [[nodiscard]] bool sleep() {
    ++sleeps_;
    header_->asleep.store(sleeps_, std::memory_order_seq_cst);  // see RingWriter::publish
    return header_->tail.load(std::memory_order_seq_cst) == head_;
  }

  void wake() { header_->asleep.store(0, std::memory_order_relaxed); }
  // When the writer last rang: its word, good for averages only.
  uint64_t rung_ns() const { return header_->rung_ns.load(std::memory_order_relaxed); }

  // The writer published a tail that cannot be.
  bool broken() const { return broken_; }

 private:
  RingHeader* header_ = nullptr;
  Record* records_ = nullptr;
  uint64_t head_ = 0;
  uint64_t tail_ = 0;
  uint64_t sleeps_ = 0;
  bool broken_ = false;
};

}  // namespace pyserver::shm
