// What every request must satisfy, whichever protocol brought it: the tensors it names, their datatypes, shapes and sizes.
//
// A decoder collects a RequestDraft and calls check(); afterwards the draft also holds what the backend will see. The order of
// the checks and their texts are Triton's (core/src/infer_request.cc). Pure: bytes come in as spans.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/datatype.h"
#include "base/status.h"
#include "model/shapes.h"
#include "model/spec.h"
#include "shm/table.h"

namespace pyserver::model {

inline constexpr size_t kMaxCorrelationText = 128;

// A run of RequestDraft::dims.
struct ShapeRun {
  uint32_t begin = 0;
  uint32_t rank = 0;
};

struct InputDraft {
  std::string_view name;
  base::Datatype datatype = base::Datatype::kInvalid;
  ShapeRun shape;  // as the client sent it
  shm::Location location;
  std::span<const uint8_t> bytes;  // what is at `location`, where this process can read it
  bool readable = false;
  int index = -1;          // in the model's inputs; -1: unknown to it
  ShapeRun backend_shape;  // set by check(): reshaped, with the batch dimension
};

struct OutputDraft {
  std::string_view name;
  int index = -1;
};

// Reused from request to request. The views must stay valid until the draft is cleared.
class RequestDraft {
 public:
  void begin(const ModelSpec& model);

  // Both refuse a name that is already there. `shape` is copied.
  base::Status add_input(std::string_view name, base::Datatype datatype,
                         std::span<const int64_t> shape);
  base::Status add_output(std::string_view name);
  // The model's only input, which refusals call "raw_input" as Triton does.
  void add_raw_input(std::span<const int64_t> shape);
  base::Status set_correlation_text(std::string_view text);

  std::span<const int64_t> dims(ShapeRun run) const { return {dims_.data() + run.begin, run.rank}; }
  const ModelSpec& model() const { return *model_; }

  std::string_view request_id;
  std::string_view correlation_text;
  uint64_t correlation_id = 0;
  std::vector<InputDraft> inputs;
  std::vector<OutputDraft> outputs;  // empty: all; check() sorts them by name

  // Set by check().
  uint32_t batch_size = 1;  // rows; 1 for a model without batching
  uint64_t signature = 0;   // requests of equal signature may share a batch
  uint64_t payload_bytes = 0;

 private:
  friend class RequestCheck;

  const ModelSpec* model_ = nullptr;
  std::vector<int64_t> dims_;
  std::vector<bool> seen_inputs_;
  std::vector<bool> seen_outputs_;
  std::unordered_set<std::string_view> strange_inputs_;  // names that the model does not know
  std::unordered_set<std::string_view> strange_outputs_;
};

base::Status check(RequestDraft* draft);

// What a draft that passed check() says, in the table of a request: its model, rows, names, tensors and places. What the submitter knows
// besides (flags, priority, time-out, parameters) is its own to add.
void write_table(const RequestDraft& draft, shm::RequestBuilder* table);

// "[request id: 7] ", which stands before most refusals.
std::string request_prefix(std::string_view request_id);

}  // namespace pyserver::model
