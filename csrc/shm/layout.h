// Everything that two processes share, byte by byte: the channel, its two rings and the 64-byte records in them.
//
// One channel connects one peer (a frontend, an instance, the control plane) with core. It is a memfd that core makes:
//
//   0        ChannelHeader                                (one page)
//   4096     RingHeader  to core   : 3 cache lines, then kRingCapacity records   writer: the peer   reader: core
//   ...      RingHeader  from core : 3 cache lines, then kRingCapacity records   writer: core       reader: the peer
//
//   RingHeader   +0 tail        u64  written by the writer only   records published so far
//                +8 rung_ns     u64  written by the writer only   when it last rang (monotonic clock)
//                +64 head       u64  written by the reader only   records consumed so far
//                +128 asleep    u64  written by the reader only   0: awake; else the number of this sleep
//
// The writer rings the reader's eventfd when `asleep` is not 0 and differs from the last number it rang for, so that each word has
// one writer and a sleeping reader costs one system call per sleep.
//
// Tensors and tables lie in regions: one sparse memfd per peer, which that peer alone allocates from and frees in. A place in
// shared memory is (peer id, offset, length); peer ids are never reused. Records refer to tables; table.h has their layout.
//
// Readers copy a record out of the ring before they believe it, and check each offset and length against its region.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace pyserver::shm {

inline constexpr uint32_t kLayoutVersion = 1;
inline constexpr uint64_t kChannelMagic = 0x314c4e4843535950;  // "PYSCHNL1"
inline constexpr size_t kRecordBytes = 64;
inline constexpr size_t kRingCapacity = 4096;  // records; a power of two
inline constexpr size_t kPageBytes = 4096;

struct alignas(64) RingHeader {
  alignas(64) std::atomic<uint64_t> tail;
  std::atomic<uint64_t> rung_ns;
  alignas(64) std::atomic<uint64_t> head;
  alignas(64) std::atomic<uint64_t> asleep;
};
static_assert(sizeof(RingHeader) == 192);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

struct ChannelHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t peer;
  uint64_t region_bytes;
  uint64_t busy_poll;  // 1: loops may look on before they sleep
};
static_assert(sizeof(ChannelHeader) == 32);

inline constexpr size_t kRingBytes = sizeof(RingHeader) + kRingCapacity * kRecordBytes;
inline constexpr size_t kToCoreOffset = kPageBytes;
inline constexpr size_t kFromCoreOffset =
    kToCoreOffset + ((kRingBytes + kPageBytes - 1) / kPageBytes) * kPageBytes;
inline constexpr size_t kChannelBytes =
    kFromCoreOffset + ((kRingBytes + kPageBytes - 1) / kPageBytes) * kPageBytes;

// Peer ids. Core is 0 and has a region of its own for the answers it makes itself.
inline constexpr uint32_t kCorePeer = 0;

enum class Kind : uint8_t {
  // any peer -> core
  kSubmit = 1,  // a new request                                             Submit
  kCancel = 2,  // the submitter no longer wants the answer                  Cancel
  kReturn = 3,  // the reader of a response is done with its memory          Return
  // instance -> core
  kResponse = 4,   // one response of one request                               Response
  kRelease = 5,    // the instance no longer reads the request's memory         Release
  kBatchDone = 6,  // execute returned; when each phase began                   BatchDone
  // core -> instance
  kBatch = 7,      // a batch: `request_count` Execute records follow           BatchHead
  kExecute = 8,    // one request of the batch just announced                   Execute
  kCancelled = 9,  // is_cancelled() of this request is true from now on        Cancelled
  kReturned = 10,  // the memory of a response may be freed                     Returned
  // core -> submitter
  kReply = 11,     // one response of one request                               Reply
  kReleased = 12,  // nobody reads the request's memory any more                Released
};

// Flags of Submit and Execute.
inline constexpr uint8_t kSequenceStart = 1;
inline constexpr uint8_t kSequenceEnd = 2;
// Of Execute only: the request is a step of a sequence, and `slot` and `generation` say where its state is.
inline constexpr uint8_t kSequenceReady = 4;
// Of Execute only: it fills a slot without a request. Table and inputs are another request's of the same batch, the control tensors
// say "not ready", and nobody waits for its response.
inline constexpr uint8_t kNullRequest = 8;
// Of Execute only: control tensors that are in the table are used as they are (warm-up samples give some).
inline constexpr uint8_t kControlsGiven = 16;

// Flags of Release.
inline constexpr uint8_t kReschedule = 1;  // unanswered: it is to be executed once more

// Flags of Response and Reply.
inline constexpr uint8_t kFinal = 1;  // no further response follows for this request
inline constexpr uint8_t kError = 2;  // the table holds a message, `code` says which kind
inline constexpr uint8_t kEmpty = 4;  // a final without a response (decoupled models); no table
inline constexpr uint8_t kReleasedFlag = 8;  // as if a Release / Released record followed

struct Record {
  Kind kind;
  uint8_t bytes[kRecordBytes - 1];
};

struct Submit {
  Kind kind = Kind::kSubmit;
  uint8_t flags = 0;
  uint16_t reserved = 0;
  uint32_t model = 0;         // handle of a model version, from the catalog
  uint64_t ticket = 0;        // the submitter's own number, never reused by it
  uint64_t table_offset = 0;  // in the submitter's region
  uint32_t table_bytes = 0;
  uint32_t batch_size = 0;     // rows
  uint64_t signature = 0;      // equal signatures may share a batch
  uint64_t timeout_us = 0;     // 0: none
  uint64_t payload_bytes = 0;  // of all inputs, for limits and statistics
  uint64_t priority = 0;       // 0: the model's default level
};

struct Cancel {
  Kind kind = Kind::kCancel;
  uint8_t reserved[7] = {};
  uint64_t ticket = 0;
  uint64_t unused[6] = {};
};

struct Return {
  Kind kind = Kind::kReturn;
  uint8_t reserved[7] = {};
  uint64_t lease = 0;  // as given by Reply
  uint64_t unused[6] = {};
};

struct Response {
  Kind kind = Kind::kResponse;
  uint8_t flags = 0;
  uint8_t code = 0;  // base::Code when kError
  uint8_t reserved = 0;
  uint32_t table_bytes = 0;
  uint64_t ticket = 0;        // as given by Execute
  uint64_t table_offset = 0;  // in the instance's region; 0 bytes when kEmpty
  uint64_t cookie = 0;        // given back by Returned
  uint64_t unused[4] = {};
};

struct Release {
  Kind kind = Kind::kRelease;
  uint8_t flags = 0;
  uint8_t reserved[6] = {};
  uint64_t ticket = 0;
  uint64_t unused[6] = {};
};

struct BatchDone {
  Kind kind = Kind::kBatchDone;
  uint8_t reserved[7] = {};
  uint64_t batch = 0;
  uint64_t compute_start_ns = 0;  // all on the monotonic clock
  uint64_t compute_input_end_ns = 0;
  uint64_t compute_output_start_ns = 0;
  uint64_t compute_end_ns = 0;
  uint64_t unused[2] = {};
};

struct BatchHead {
  Kind kind = Kind::kBatch;
  uint8_t reserved[3] = {};
  uint32_t request_count = 0;
  uint64_t batch = 0;
  uint32_t batch_size = 0;  // rows of all its requests
  uint32_t reserved2 = 0;
  uint64_t unused[5] = {};
};

struct Execute {
  Kind kind = Kind::kExecute;
  uint8_t flags = 0;
  uint16_t max_unread = 0;  // responses that may wait to be read; 0: as many as the instance allows
  uint32_t submitter = 0;   // peer whose region holds the table
  uint64_t ticket = 0;      // core's number
  uint64_t table_offset = 0;
  uint32_t table_bytes = 0;
  uint32_t batch_size = 0;
  uint64_t deadline_ns = 0;  // 0: none
  uint64_t timeout_us = 0;
  uint64_t priority = 0;
  uint32_t slot = 0;        // of the sequence in this instance
  uint32_t generation = 0;  // of the slot; 0: not a sequence
};

struct Cancelled {
  Kind kind = Kind::kCancelled;
  uint8_t reserved[7] = {};
  uint64_t ticket = 0;
  uint64_t unused[6] = {};
};

struct Returned {
  Kind kind = Kind::kReturned;
  uint8_t reserved[7] = {};
  uint64_t cookie = 0;
  uint64_t unused[6] = {};
};

struct Reply {
  Kind kind = Kind::kReply;
  uint8_t flags = 0;
  uint8_t code = 0;
  uint8_t reserved = 0;
  uint32_t table_bytes = 0;
  uint64_t ticket = 0;        // the submitter's
  uint64_t table_offset = 0;  // in the owner's region
  uint64_t lease = 0;         // hand back by Return when done; 0: nothing to hand back
  uint32_t owner = 0;         // peer whose region holds the table
  uint32_t reserved2 = 0;
  uint64_t unused[3] = {};
};

struct Released {
  Kind kind = Kind::kReleased;
  uint8_t reserved[7] = {};
  uint64_t ticket = 0;
  uint64_t unused[6] = {};
};

template <typename T>
inline constexpr bool kIsRecord =
    sizeof(T) == kRecordBytes&& std::is_trivially_copyable_v<T>&& std::is_standard_layout_v<T>;

static_assert(kIsRecord<Record> && kIsRecord<Submit> && kIsRecord<Cancel> && kIsRecord<Return> &&
              kIsRecord<Response>);
static_assert(kIsRecord<Release> && kIsRecord<BatchDone> && kIsRecord<BatchHead> &&
              kIsRecord<Execute>);
static_assert(kIsRecord<Cancelled> && kIsRecord<Returned> && kIsRecord<Reply> &&
              kIsRecord<Released>);
static_assert(offsetof(Submit, ticket) == 8 && offsetof(Submit, priority) == 56);
static_assert(offsetof(Execute, deadline_ns) == 32 && offsetof(Reply, owner) == 32);

template <typename T>
Record pack(const T& message) {
  static_assert(kIsRecord<T>);
  return std::bit_cast<Record>(message);
}

template <typename T>
T unpack(const Record& record) {
  static_assert(kIsRecord<T>);
  return std::bit_cast<T>(record);
}

}  // namespace pyserver::shm
