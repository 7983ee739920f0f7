// Ragged batches: inputs of unequal shape laid end to end in one dimension, and the inputs that tell a model where each one begins
// (`batch_input` of a model config).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/datatype.h"
#include "base/status.h"
#include "instance/executor.h"

namespace pyserver::instance {

// BatchInput.Kind of the model config.
enum class BatchInputKind : uint8_t {
  kElementCount = 0,
  kAccumulatedElementCount = 1,
  kAccumulatedElementCountWithZero = 2,
  kMaxElementCountAsShape = 3,
  kItemShape = 4,
  kItemShapeFlatten = 5,
};
inline constexpr uint8_t kMaxBatchInputKind = 5;

struct MadeInput {
  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;
};

// What `kind` says of the requests' inputs `source`, as INT32 or FP32. Every request must have the input.
base::Status make_batch_input(const Batch& batch, BatchInputKind kind, std::string_view source,
                              base::Datatype datatype, MadeInput* made);

}  // namespace pyserver::instance
