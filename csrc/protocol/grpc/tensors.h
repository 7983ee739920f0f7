// InferInputTensor and InferRequestedOutputTensor as they stand in a message.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/datatype.h"
#include "base/status.h"
#include "model/spec.h"
#include "protocol/grpc/parameters.h"
#include "protocol/tensor_memory.h"
#include "shm/table.h"

namespace pyserver::protocol::grpc {

struct InputTensor {
  std::string_view message;  // all of it
  std::string_view name;
  base::Datatype datatype = base::Datatype::kInvalid;
  uint64_t rank = 0;  // dimensions that were sent, also those that are too many to keep
  bool has_contents = false;
  SharedMemoryParameters shared_memory;
};

struct OutputTensor {
  std::string_view name;
  bool has_classification = false;
  ParameterValue classification;
  SharedMemoryParameters shared_memory;
};

// Both are false for a malformed message. The shape goes to `shape`, up to shm::kMaxRank dimensions.
bool read_input(std::string_view message, InputTensor* input, std::vector<int64_t>* shape);
bool read_output(std::string_view message, OutputTensor* output);

// Whether an input's typed contents are well-formed; true without any.
bool good_contents(const InputTensor& input);

// Builds the tensor of an input's typed contents. Refuses contents that are not in the field of the datatype.
base::Status build_contents(const model::ModelSpec& model, const InputTensor& input,
                            TensorMemory* memory, shm::Location* location);

// What Google's server says of a message that it cannot parse.
base::Status malformed_request();

}  // namespace pyserver::protocol::grpc
