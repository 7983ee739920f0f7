// The control tensors of sequences (spec/05 section 5.3): inputs that no client sends, made for each request from its flags and its
// correlation id.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/datatype.h"

namespace pyserver::instance {

enum class ControlKind : uint8_t { kStart = 0, kReady = 1, kEnd = 2, kCorrelationId = 3 };

struct ControlSpec {
  std::string name;
  ControlKind kind = ControlKind::kStart;
  base::Datatype datatype = base::Datatype::kInvalid;
  std::vector<uint8_t> when_false;  // one element; of a correlation id none
  std::vector<uint8_t> when_true;
};

struct Controls {
  std::vector<ControlSpec> specs;
  bool batched = false;  // shape [1, 1], else [1]
};

}  // namespace pyserver::instance
