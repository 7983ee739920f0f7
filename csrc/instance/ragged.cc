// Counting elements and shapes over a batch.
#include "instance/ragged.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

namespace pyserver::instance {

namespace {

template <typename T>
void write_as(const std::vector<int64_t>& values, std::vector<uint8_t>* bytes) {
  bytes->resize(values.size() * sizeof(T));
  for (size_t index = 0; index < values.size(); ++index) {
    const T value = static_cast<T>(values[index]);
    std::memcpy(bytes->data() + index * sizeof value, &value, sizeof value);
  }
}

// The shape of one row for every row of the batch.
base::Status item_shapes(const Batch& batch, std::string_view source, std::vector<int64_t>* values,
                         int64_t* rank) {
  for (const RequestRef& request : batch.requests) {
    const std::span<const int64_t> shape = request->find_input(source)->shape;
    const auto own_rank = static_cast<int64_t>(shape.size()) - 1;
    if (*rank >= 0 && own_rank != *rank) {
      return base::internal_error("input '" + std::string(source) +
                                  "' has a different number of dimensions in the requests of one "
                                  "batch");
    }
    *rank = own_rank;
    for (uint32_t row = 0; row < request->batch_size(); ++row) {
      values->insert(values->end(), shape.begin() + 1, shape.end());
    }
  }
  return {};
}

}  // namespace

base::Status make_batch_input(const Batch& batch, BatchInputKind kind, std::string_view source,
                              base::Datatype datatype, MadeInput* made) {
  std::vector<int64_t> counts;
  for (const RequestRef& request : batch.requests) {
    const Input* input = request->find_input(source);
    if (input == nullptr || input->shape.empty()) {
      return base::invalid_argument("batch input needs input '" + std::string(source) +
                                    "', which a request of the batch does not have");
    }
    counts.push_back(static_cast<int64_t>(element_count(input->shape).value_or(0)));
  }
  std::vector<int64_t> values;
  int64_t rank = -1;
  switch (kind) {
    case BatchInputKind::kElementCount:
      values = counts;
      break;
    case BatchInputKind::kAccumulatedElementCountWithZero:
      values.push_back(0);
      [[fallthrough]];
    case BatchInputKind::kAccumulatedElementCount: {
      int64_t sum = 0;
      for (const int64_t count : counts) values.push_back(sum += count);
      break;
    }
    case BatchInputKind::kMaxElementCountAsShape:
      values.assign(static_cast<size_t>(*std::max_element(counts.begin(), counts.end())), 0);
      break;
    case BatchInputKind::kItemShape:
    case BatchInputKind::kItemShapeFlatten: {
      const base::Status status = item_shapes(batch, source, &values, &rank);
      if (!status.ok()) return status;
      break;
    }
  }
  if (kind == BatchInputKind::kItemShape) {
    made->shape = {static_cast<int64_t>(batch.batch_size), rank};
  } else {
    made->shape = {static_cast<int64_t>(values.size())};
  }
  if (datatype == base::Datatype::kFp32) {
    write_as<float>(values, &made->bytes);
    return {};
  }
  const bool fits = std::all_of(values.begin(), values.end(), [](int64_t value) {
    return value <= std::numeric_limits<int32_t>::max();
  });
  if (!fits) {
    return base::invalid_argument("the batch's counts of input '" + std::string(source) +
                                  "' do not fit into INT32");
  }
  write_as<int32_t>(values, &made->bytes);
  return {};
}

}  // namespace pyserver::instance
