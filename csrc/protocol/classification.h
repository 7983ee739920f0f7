// The classification extension: an output becomes the best few of its values, as texts.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/spec.h"

namespace pyserver::protocol {

inline constexpr uint64_t kMaxClassificationElements = 1'000'000;

struct Classification {
  std::vector<int64_t> shape;
  std::vector<std::string> texts;  // "<value>:<index>[:<label>]", row by row, best first
};

// `bytes` is the output's tensor of `shape`; `batched` says that its first dimension counts rows. Values are copied before they
// are compared, since another process may go on writing them.
base::Status classify(const model::TensorSpec* spec, std::string_view name, base::Datatype datatype,
                      bool batched, std::span<const int64_t> shape, std::span<const uint8_t> bytes,
                      uint32_t classes, Classification* result);

}  // namespace pyserver::protocol
