// The outermost fields of a ModelInferRequest.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/spec.h"
#include "protocol/grpc/parameters.h"

namespace pyserver::protocol::grpc {

// Views of them. Kept from request to request for its memory, which is bounded whatever a message holds.
struct Outline {
  std::string_view id;
  std::vector<ParameterEntry> parameters;  // one per key
  std::vector<std::string_view> inputs;
  std::vector<std::string_view> outputs;
  std::vector<std::string_view> raw;  // as many as inputs could want
  uint64_t raw_count = 0;             // all that were sent

  void clear();
};

// Refuses a message that is malformed, and one that holds more than can be meant for this model.
base::Status read_outline(const model::ModelSpec& model, std::span<const uint8_t> message,
                          Outline* outline);

}  // namespace pyserver::protocol::grpc
