// What the front needs to know of one model version in order to check and answer requests for it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/datatype.h"

namespace pyserver::model {

struct TensorSpec {
  std::string name;
  base::Datatype datatype = base::Datatype::kInvalid;
  std::vector<int64_t> dims;  // of the config, without the batch dimension; -1: any
  std::optional<std::vector<int64_t>> reshape;  // what the backend sees instead
  bool optional = false;
  bool ragged = false;
  bool shape_tensor = false;
  std::vector<std::string> labels;  // of an output, for classification
};

struct ModelSpec {
  std::string name;
  int64_t version = 0;
  std::string version_text;
  uint32_t handle = 0;
  int32_t max_batch_size = 0;
  bool decoupled = false;
  bool sequence = false;
  // Its answers are kept in the response cache, under keys with this seed.
  std::optional<uint64_t> cache_seed;
  base::Datatype correlation_datatype = base::Datatype::kInvalid;  // of the CORRID control, if any
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;

  // The index in inputs / outputs, or -1. A walk that begins at `hint`: requests mostly name tensors in the config's order.
  int input_index(std::string_view tensor, size_t hint = 0) const {
    return index_in(inputs, tensor, hint);
  }
  int output_index(std::string_view tensor, size_t hint = 0) const {
    return index_in(outputs, tensor, hint);
  }

 private:
  static int index_in(const std::vector<TensorSpec>& specs, std::string_view tensor, size_t hint) {
    const size_t count = specs.size();
    size_t index = hint < count ? hint : 0;
    for (size_t step = 0; step < count; ++step) {
      if (specs[index].name == tensor) return static_cast<int>(index);
      if (++index == count) index = 0;
    }
    return -1;
  }
};

}  // namespace pyserver::model
