// Counting elements, and turning what a backend gave into what the config promises.
#include "model/shapes.h"

namespace pyserver::model {

std::string shape_text(std::span<const int64_t> dims) {
  std::string text = "[";
  for (const int64_t dim : dims) {
    if (text.size() > 1) text += ',';
    text += std::to_string(dim);
  }
  return text + "]";
}

std::optional<int64_t> element_count(std::span<const int64_t> dims) {
  if (dims.empty()) return 0;
  bool zero = false;  // anywhere makes the product zero, however large the others are
  for (const int64_t dim : dims) {
    if (dim < 0) return std::nullopt;
    zero = zero || dim == 0;
  }
  if (zero) return 0;
  int64_t count = 1;
  for (const int64_t dim : dims) {
    if (__builtin_mul_overflow(count, dim, &count)) return std::nullopt;
  }
  return count;
}

base::Status element_count_overflow(std::string_view input, std::span<const int64_t> dims) {
  return base::invalid_argument(
      "invalid shape for input '" + std::string(input) + "': shape " + shape_text(dims) +
      " causes total element count to exceed maximum size of " + std::to_string(INT64_MAX));
}

base::Status byte_size_overflow(std::string_view input, int64_t elements, base::Datatype datatype) {
  return base::invalid_argument("byte size overflow for input '" + std::string(input) +
                                "': " + std::to_string(elements) + " elements of " +
                                std::string(base::wire_name(datatype)) +
                                " exceed maximum size of " + std::to_string(INT64_MAX) + " bytes");
}

bool undo_reshape(const TensorSpec& spec, bool batched, std::span<const int64_t> shape,
                  std::vector<int64_t>* dims) {
  const size_t skip = batched ? 1 : 0;
  if (!spec.reshape || shape.size() != spec.reshape->size() + skip) return false;
  dims->clear();
  if (batched) dims->push_back(shape[0]);
  size_t next = 0;
  for (const int64_t dim : spec.dims) {
    if (dim != -1) {
      dims->push_back(dim);
      continue;
    }
    // The catalog lets in only specs with as many wildcards in the reshape as in the dims.
    while ((*spec.reshape)[next] != -1) ++next;
    dims->push_back(shape[skip + next++]);
  }
  return true;
}

void fit_rank(const TensorSpec& spec, bool batched, std::vector<int64_t>* shape) {
  const size_t wanted = spec.dims.size() + (batched && !spec.shape_tensor ? 1 : 0);
  if (shape->size() + 1 == wanted && batched) {
    shape->insert(shape->begin(), 1);
  } else if (shape->size() == wanted + 1 && !batched && shape->front() == 1) {
    shape->erase(shape->begin());
  }
}

}  // namespace pyserver::model
