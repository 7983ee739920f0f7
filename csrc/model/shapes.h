// Shapes of tensors as requests and responses carry them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/datatype.h"
#include "base/status.h"
#include "model/spec.h"

namespace pyserver::model {

// "[-1,16]"
std::string shape_text(std::span<const int64_t> dims);

// The number of elements; nothing when it exceeds INT64_MAX or a dimension is negative. No dimension at all counts as none.
std::optional<int64_t> element_count(std::span<const int64_t> dims);

base::Status element_count_overflow(std::string_view input, std::span<const int64_t> dims);
base::Status byte_size_overflow(std::string_view input, int64_t elements, base::Datatype datatype);

// What the client is told of a shape that the backend gave (`batched`: it begins with the batch dimension): `spec.reshape` undone.
// False when the shape does not fit the reshape; `dims` is then left alone.
bool undo_reshape(const TensorSpec& spec, bool batched, std::span<const int64_t> shape,
                  std::vector<int64_t>* dims);

// Between models that batch and models that do not: a batch of one and no batch differ by a dimension in front.
void fit_rank(const TensorSpec& spec, bool batched, std::vector<int64_t>* shape);

}  // namespace pyserver::model
