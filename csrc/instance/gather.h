// Many requests, one tensor: gather joins an input of a whole batch along its first dimension,
// scatter splits an output again.
//
// A batch of one is a view of the request's own memory. Otherwise, and where that memory is not
// aligned for its elements, the rows are copied once into a buffer that is kept for the next batch.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/datatype.h"
#include "base/status.h"
#include "instance/aligned_buffer.h"
#include "instance/executor.h"
#include "instance/memory.h"

namespace pyserver::instance {

struct Gathered {
  bool present = false;  // an optional input that this batch does not have
  base::Datatype datatype = base::Datatype::kInvalid;
  std::vector<int64_t> shape;
  std::span<const uint8_t>
      bytes;  // valid until the same input is gathered again or the batch is done
};

// Joins inputs batch after batch; one per instance, used by its thread.
class Gatherer {
 public:
  // `slot` chooses the buffer: the number of the input. The requests' shapes may differ in the
  // first dimension only.
  base::Status gather(const Batch& batch, std::string_view input, size_t slot, Gathered* gathered);
  // The same of a ragged input: whatever the shapes, its elements follow each other in one dimension.
  base::Status gather_ragged(const Batch& batch, std::string_view input, size_t slot,
                             Gathered* gathered);

  // How many bytes were copied so far; what was viewed is not counted.
  uint64_t copied_bytes() const { return copied_bytes_; }

 private:
  uint8_t* storage(size_t slot, uint64_t byte_size);
  void join(const Batch& batch, std::string_view input, size_t slot, uint64_t total,
            Gathered* gathered);

  std::vector<AlignedBuffer> storages_;
  uint64_t copied_bytes_ = 0;
};

// One output of a batch, in the own region.
struct BatchOutput {
  std::string name;
  uint16_t index = 0;
  base::Datatype datatype = base::Datatype::kInvalid;
  std::vector<int64_t> shape;  // first dimension: rows of the whole batch
  BufferRef buffer;
  // Of BYTES, whose rows have no common size: where each row begins, and the end of the last.
  std::vector<uint64_t> row_offsets;
  // Not empty: each request gets as many elements as its input of this name has, in that shape (`batch_output`).
  std::string shaped_as;
};

// Answers every request of the batch with its rows of the outputs that it wants. `whole`: the model
// does not batch, so that its one request gets the outputs as they are. On an error nothing has
// been sent.
base::Status scatter(const Batch& batch, std::span<const BatchOutput> outputs, bool whole);

std::string shape_text(std::span<const int64_t> shape);

}  // namespace pyserver::instance
