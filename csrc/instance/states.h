// Implicit state (spec/05 section 5.3): what a model gives at one step of a sequence and gets back at the next one, without a
// client seeing it. It lives here, in the instance, by the slot that core gave to the sequence.
//
// A batch of one reads a slot's own memory and writes to the slot's second buffer, which then takes its place: nothing is copied.
// Larger batches are joined and split along the first dimension.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/datatype.h"
#include "instance/aligned_buffer.h"
#include "instance/gather.h"
#include "instance/request.h"

namespace pyserver::instance {

struct StateSpec {
  std::string input;
  std::string output;
  base::Datatype datatype = base::Datatype::kInvalid;
  std::vector<int64_t> shape;    // of one sequence at its start; the batch's dimension is a 1
  std::vector<uint8_t> initial;  // in wire form
  bool same_buffer = false;      // the model updates its input in place
};

class States {
 public:
  States() = default;
  explicit States(std::vector<StateSpec> specs) : specs_(std::move(specs)) {}

  bool empty() const { return specs_.empty(); }
  const std::vector<StateSpec>& specs() const { return specs_; }

  // Finds the state of each request's sequence, and makes it anew where one starts; a request whose state is not here is answered so
  // and leaves `requests`. Those with the same number in `groups` have states of equal shapes and can be executed together;
  // `requests` is put into the order of groups.
  void open(std::vector<RequestRef>* requests, std::vector<uint32_t>* groups);

  // The batch's state as the model takes it. Valid until the next call for the same state.
  Gathered input(std::span<const RequestRef> requests, size_t state);
  // Where the model, or whoever copies for it, writes the batch's new state. `row_offsets` of BYTES: where each request's row begins,
  // and the end of the last.
  uint8_t* output(std::span<const RequestRef> requests, size_t state,
                  std::vector<int64_t> batch_shape, uint64_t byte_size,
                  std::vector<uint64_t> row_offsets = {});
  // The steps were taken: what was written is the state now. What was not written stays as it was.
  void commit(std::span<const RequestRef> requests);

  uint64_t copied_bytes() const { return copied_bytes_; }
  uint64_t held_bytes() const;

 private:
  struct Value {
    AlignedBuffer current;
    AlignedBuffer next;
    std::vector<int64_t> shape;
    uint64_t byte_size = 0;
  };
  struct Slot {
    uint32_t generation = 0;
    std::vector<Value> values;
  };
  struct Written {
    bool written = false;
    bool direct = false;  // into the slot's own second buffer
    uint8_t* data = nullptr;
    std::vector<int64_t> shape;
    uint64_t byte_size = 0;
    std::vector<uint64_t> row_offsets;
  };

  bool open_one(Request& request);
  Slot& slot_of(const Request& request);
  void start(Slot* slot);
  bool equal_shapes(const Slot& one, const Slot& other) const;
  void take(const Request& request, size_t state, const Written& written, size_t row, size_t rows);

  std::vector<StateSpec> specs_;
  std::unordered_map<uint32_t, Slot> slots_;
  Slot dummy_;  // of null requests
  std::vector<AlignedBuffer> inputs_;
  std::vector<AlignedBuffer> outputs_;
  std::vector<Written> written_;
  uint64_t copied_bytes_ = 0;
};

}  // namespace pyserver::instance
