// Picking the best values of each row.
#include "protocol/classification.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <optional>
#include <type_traits>

#include "model/shapes.h"
#include "protocol/response_data.h"

namespace pyserver::protocol {

namespace {

template <typename T>
bool better(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) || std::isnan(b)) return !std::isnan(a) && std::isnan(b);  // NaN comes last
  }
  return a > b;
}

template <typename T>
void add_rows(std::span<const uint8_t> bytes, uint64_t rows, uint64_t row_size, uint64_t best,
              const std::vector<std::string>* labels, std::vector<std::string>* texts) {
  std::vector<T> values(row_size);
  std::vector<uint32_t> order(row_size);
  for (uint64_t row = 0; row < rows; ++row) {
    std::memcpy(values.data(), bytes.data() + row * row_size * sizeof(T), row_size * sizeof(T));
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + static_cast<int64_t>(best), order.end(),
                      [&](uint32_t a, uint32_t b) {
                        if (better(values[a], values[b])) return true;
                        return !better(values[b], values[a]) && a < b;
                      });
    for (uint64_t rank = 0; rank < best; ++rank) {
      const uint32_t index = order[rank];
      std::string text = std::to_string(values[index]) + ":" + std::to_string(index);
      if (labels != nullptr && index < labels->size() && !(*labels)[index].empty()) {
        text += ":" + (*labels)[index];
      }
      texts->push_back(std::move(text));
    }
  }
}

using AddRows = void (*)(std::span<const uint8_t>, uint64_t, uint64_t, uint64_t,
                         const std::vector<std::string>*, std::vector<std::string>*);

AddRows add_rows_of(base::Datatype datatype) {
  switch (datatype) {
    case base::Datatype::kUint8:
      return add_rows<uint8_t>;
    case base::Datatype::kUint16:
      return add_rows<uint16_t>;
    case base::Datatype::kUint32:
      return add_rows<uint32_t>;
    case base::Datatype::kUint64:
      return add_rows<uint64_t>;
    case base::Datatype::kInt8:
      return add_rows<int8_t>;
    case base::Datatype::kInt16:
      return add_rows<int16_t>;
    case base::Datatype::kInt32:
      return add_rows<int32_t>;
    case base::Datatype::kInt64:
      return add_rows<int64_t>;
    case base::Datatype::kFp32:
      return add_rows<float>;
    case base::Datatype::kFp64:
      return add_rows<double>;
    default:
      return nullptr;
  }
}

}  // namespace

base::Status classify(const model::TensorSpec* spec, std::string_view name, base::Datatype datatype,
                      bool batched, std::span<const int64_t> shape, std::span<const uint8_t> bytes,
                      uint32_t classes, Classification* result) {
  const AddRows add = add_rows_of(datatype);
  if (add == nullptr) {
    return base::invalid_argument(
        "class result not available for output due to unsupported type '" +
        std::string(base::wire_name(datatype)) + "'");
  }
  const std::optional<uint64_t> elements = response_elements(shape);
  if (elements && *elements > kMaxClassificationElements) {
    return base::invalid_argument("classification output tensor too large");
  }
  if (!elements || bytes.size() != *elements * base::element_byte_size(datatype)) {
    return size_mismatch(name);
  }
  const bool has_rows = batched && !shape.empty();
  const uint64_t rows = has_rows ? static_cast<uint64_t>(shape[0]) : 1;
  const uint64_t row_size = rows == 0 ? 0 : *elements / rows;
  const uint64_t best = std::min<uint64_t>(classes, row_size);
  result->shape.clear();
  if (has_rows) result->shape.push_back(shape[0]);
  result->shape.push_back(static_cast<int64_t>(best));
  result->texts.clear();
  if (best > 0) {
    add(bytes, rows, row_size, best, spec == nullptr ? nullptr : &spec->labels, &result->texts);
  }
  return {};
}

}  // namespace pyserver::protocol
