// One request as an instance sees it: its checked table, its inputs' bytes, and when its memory may
// be released.
//
// The memory of a request belongs to whoever submitted it, and lives until the instance says that
// it no longer reads it. Usually that is said together with the final response. When somebody still
// looks at an input then (a numpy view that a model keeps), it is said when the last Hold is gone,
// from whatever thread that happens on.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/datatype.h"
#include "base/status.h"
#include "instance/controls.h"
#include "shm/layout.h"
#include "shm/peer.h"
#include "shm/table.h"

namespace pyserver::instance {

class Link;
class Executor;

// What a request's responses that nobody has taken yet amount to. Guarded by the link's lock; lives as long as one of them.
struct Unread {
  uint64_t responses = 0;
  uint64_t bytes = 0;
};

struct Input {
  std::string_view name;  // in the request's table
  base::Datatype datatype = base::Datatype::kInvalid;
  uint16_t index = 0;  // of the input in the model config
  std::span<const int64_t> shape;
  std::span<const uint8_t> bytes;
  shm::Location location;  // of the same bytes, for answers by reference
  bool control = false;    // made here: its bytes are in no region
};

// The product of the dimensions; nothing when one is negative or the product does not fit.
std::optional<uint64_t> element_count(std::span<const int64_t> shape);

class Request {
 public:
  // Made by Link::make_request, which uses the objects again and again for their storage.
  Request() = default;
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  // Copies and checks the table, and finds every input's bytes. After an error the request can only
  // be failed.
  base::Status resolve(const shm::PeerRegions& regions, const Controls& controls = {});

  const shm::RequestView& table() const { return table_; }
  std::span<const Input> inputs() const { return inputs_; }
  const Input* find_input(std::string_view name) const;
  // Whether the output is to be sent. An empty list in the table means every one.
  bool wants(std::string_view output) const;
  // Where the bytes [data, data + size) lie if they are part of an input of this request.
  std::optional<shm::Location> locate(const uint8_t* data, uint64_t size) const;

  // It fills the slot of a sequence that has nothing to run: only its tensors' shapes mean anything.
  bool null_request() const { return (record_.flags & shm::kNullRequest) != 0; }
  // Where core keeps the sequence that this is a step of, and which sequence of that slot it is; 0: none.
  uint32_t slot() const { return record_.slot; }
  uint32_t generation() const { return record_.generation; }
  bool starts_sequence() const { return (record_.flags & shm::kSequenceStart) != 0; }
  bool ends_sequence() const { return (record_.flags & shm::kSequenceEnd) != 0; }
  uint64_t ticket() const { return record_.ticket; }
  uint32_t batch_size() const { return record_.batch_size; }
  // What the client said of its sequence.
  uint8_t flags() const { return record_.flags & (shm::kSequenceStart | shm::kSequenceEnd); }
  uint64_t deadline_ns() const { return record_.deadline_ns; }
  uint64_t timeout_us() const { return record_.timeout_us; }
  uint64_t priority() const { return record_.priority; }
  uint32_t submitter() const { return record_.submitter; }
  // How many of its responses may wait to be read; 0: as many as its link allows.
  uint64_t max_unread() const { return record_.max_unread; }
  const std::shared_ptr<Link>& link() const { return link_; }

  // As far as core's word has been read; Executor::poll() reads it.
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }
  // Whether the final response was sent, and how many responses were.
  bool answered() const { return answered_.load(std::memory_order_acquire); }
  uint64_t response_count() const { return response_count_.load(std::memory_order_relaxed); }

 private:
  friend class Link;
  friend class Hold;

  void add_controls(const Controls& controls);
  void write_control(const ControlSpec& spec, std::vector<uint8_t>* bytes) const;
  base::Status resolve_input(const shm::TensorEntry& entry, const shm::PeerRegions& regions);
  const shm::RegionRef* find_region(uint32_t peer, const shm::PeerRegions& regions);
  void open(std::shared_ptr<Link> link, const shm::Execute& record);
  void close();

  std::shared_ptr<Link> link_;
  shm::Execute record_;
  shm::RequestView table_;
  std::vector<Input> inputs_;
  std::vector<std::vector<uint8_t>> control_bytes_;
  std::vector<std::pair<uint32_t, shm::RegionRef>> regions_;  // keeps what the inputs lie in mapped
  std::atomic<bool> cancelled_ = false;
  std::atomic<bool> answered_ = false;
  std::atomic<uint64_t> response_count_ = 0;
  // Guarded by the link's lock:
  size_t slot_ = 0;  // in the link's list of live requests
  uint32_t holds_ = 0;
  bool released_ = false;
  std::shared_ptr<Unread> unread_;  // of responses that were not the last
};

using RequestRef = std::shared_ptr<Request>;

// Keeps a request's memory readable while it exists.
class Hold {
 public:
  // Nothing when the memory has been released already.
  static std::unique_ptr<Hold> take(RequestRef request);
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold();

 private:
  explicit Hold(RequestRef request) : request_(std::move(request)) {}
  const RequestRef request_;
};

}  // namespace pyserver::instance
