// The one copy of a batch, and the slices of its answer.
#include "instance/gather.h"

#include <algorithm>
#include <cstring>

namespace pyserver::instance {

namespace {

bool aligned(const uint8_t* data, base::Datatype datatype) {
  const uint32_t element = std::max(1u, base::element_byte_size(datatype));
  return reinterpret_cast<uintptr_t>(data) % element == 0;
}

// Whether two requests' tensors may lie one behind the other.
bool joinable(const Input& first, const Input& other) {
  if (first.datatype != other.datatype || first.shape.size() != other.shape.size()) return false;
  if (first.shape.empty()) return false;
  return std::equal(first.shape.begin() + 1, first.shape.end(), other.shape.begin() + 1);
}

}  // namespace

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t index = 0; index < shape.size(); ++index) {
    if (index > 0) text += ',';
    text += std::to_string(shape[index]);
  }
  return text + "]";
}

uint8_t* Gatherer::storage(size_t slot, uint64_t byte_size) {
  if (slot >= storages_.size()) storages_.resize(slot + 1);
  return storages_[slot].reserve(byte_size);
}

base::Status Gatherer::gather(const Batch& batch, std::string_view name, size_t slot,
                              Gathered* gathered) {
  const Input* first = batch.requests.front()->find_input(name);
  gathered->present = first != nullptr;
  if (first == nullptr) return {};
  gathered->datatype = first->datatype;
  gathered->shape.assign(first->shape.begin(), first->shape.end());
  if (batch.requests.size() == 1 && aligned(first->bytes.data(), first->datatype)) {
    gathered->bytes = first->bytes;
    return {};
  }
  uint64_t total = first->bytes.size();
  for (size_t index = 1; index < batch.requests.size(); ++index) {
    const Input* other = batch.requests[index]->find_input(name);
    if (other == nullptr || !joinable(*first, *other)) {
      return base::internal_error("input '" + std::string(name) +
                                  "' of the requests of one batch differs in datatype or shape");
    }
    gathered->shape[0] += other->shape[0];
    total += other->bytes.size();
  }
  join(batch, name, slot, total, gathered);
  return {};
}

base::Status Gatherer::gather_ragged(const Batch& batch, std::string_view name, size_t slot,
                                     Gathered* gathered) {
  const Input* first = batch.requests.front()->find_input(name);
  gathered->present = first != nullptr;
  if (first == nullptr) return {};
  gathered->datatype = first->datatype;
  uint64_t total = 0;
  uint64_t elements = 0;
  for (const RequestRef& request : batch.requests) {
    const Input* input = request->find_input(name);
    if (input == nullptr || input->datatype != first->datatype) {
      return base::internal_error("input '" + std::string(name) +
                                  "' of the requests of one batch differs in datatype");
    }
    total += input->bytes.size();
    elements += element_count(input->shape).value_or(0);
  }
  gathered->shape = {static_cast<int64_t>(elements)};
  if (batch.requests.size() == 1 && aligned(first->bytes.data(), first->datatype)) {
    gathered->bytes = first->bytes;
  } else {
    join(batch, name, slot, total, gathered);
  }
  return {};
}

void Gatherer::join(const Batch& batch, std::string_view name, size_t slot, uint64_t total,
                    Gathered* gathered) {
  uint8_t* target = storage(slot, total);
  uint64_t at = 0;
  for (const RequestRef& request : batch.requests) {
    const std::span<const uint8_t> bytes = request->find_input(name)->bytes;
    if (!bytes.empty()) std::memcpy(target + at, bytes.data(), bytes.size());
    at += bytes.size();
  }
  copied_bytes_ += total;
  gathered->bytes = {target, total};
}

namespace {

uint64_t bytes_of(std::span<const int64_t> shape, base::Datatype datatype) {
  return element_count(shape).value_or(0) * base::element_byte_size(datatype);
}

// Of an output that is split by the shapes of an input.
base::Status check_shaped(const Batch& batch, const BatchOutput& output) {
  uint64_t needed = 0;
  for (const RequestRef& request : batch.requests) {
    const Input* input = request->find_input(output.shaped_as);
    if (input == nullptr) {
      return base::internal_error("output '" + output.name + "' takes its shape from input '" +
                                  output.shaped_as + "', which a request of the batch lacks");
    }
    needed += bytes_of(input->shape, output.datatype);
  }
  if (output.datatype == base::Datatype::kBytes) {
    return base::unsupported("output '" + output.name +
                             "' is of strings, which cannot be split by the shape of an input");
  }
  if (needed == output.buffer->byte_size()) return {};
  return base::internal_error("output '" + output.name + "' has " +
                              std::to_string(output.buffer->byte_size()) + " bytes in shape " +
                              shape_text(output.shape) + ", but the shapes of input '" +
                              output.shaped_as + "' make " + std::to_string(needed));
}

base::Status check_output(const Batch& batch, const BatchOutput& output) {
  if (!output.shaped_as.empty()) return check_shaped(batch, output);
  const auto rows = static_cast<int64_t>(batch.batch_size);
  if (output.shape.empty() || output.shape[0] != rows) {
    return base::internal_error(
        "output '" + output.name + "' has shape " + shape_text(output.shape) +
        ", but its first dimension must be the batch size " + std::to_string(rows));
  }
  if (output.datatype == base::Datatype::kBytes &&
      output.row_offsets.size() != batch.batch_size + size_t{1}) {
    return base::internal_error("output '" + output.name + "' came without the places of its rows");
  }
  return {};
}

struct Slice {
  uint64_t offset;
  uint64_t byte_size;
};

// The bytes of `rows` rows from `first` on.
Slice slice(const BatchOutput& output, uint64_t first, uint64_t rows) {
  if (!output.row_offsets.empty()) {
    const uint64_t begin = output.row_offsets[first];
    return {begin, output.row_offsets[first + rows] - begin};
  }
  const std::span<const int64_t> row_shape = std::span(output.shape).subspan(1);
  const uint64_t row_bytes = bytes_of(row_shape, output.datatype);
  return {first * row_bytes, rows * row_bytes};
}

}  // namespace

base::Status scatter(const Batch& batch, std::span<const BatchOutput> outputs, bool whole) {
  for (const BatchOutput& output : outputs) {
    const base::Status status = whole ? base::Status() : check_output(batch, output);
    if (!status.ok()) return status;
  }
  shm::ResponseBuilder table;
  std::vector<int64_t> shape;
  std::vector<uint64_t> taken(outputs.size(), 0);  // of outputs that are split by shapes
  uint64_t row = 0;
  for (const RequestRef& request : batch.requests) {
    const uint64_t rows = request->batch_size();
    std::vector<BufferRef> buffers;
    table.clear();
    for (size_t index = 0; index < outputs.size(); ++index) {
      const BatchOutput& output = outputs[index];
      shape.assign(output.shape.begin(), output.shape.end());
      Slice bytes{0, output.buffer->byte_size()};
      if (!whole && !output.shaped_as.empty()) {
        const std::span<const int64_t> own = request->find_input(output.shaped_as)->shape;
        shape.assign(own.begin(), own.end());
        bytes = {taken[index], bytes_of(own, output.datatype)};
        taken[index] += bytes.byte_size;
      }
      if (!request->wants(output.name)) continue;
      if (!whole && output.shaped_as.empty()) {
        bytes = slice(output, row, rows);
        shape[0] = static_cast<int64_t>(rows);
      }
      table.add_output(output.name, output.index, output.datatype, shape,
                       shm::Location{shm::Place::kRegion, output.buffer->memory()->peer(),
                                     output.buffer->offset() + bytes.offset, bytes.byte_size});
      buffers.push_back(output.buffer);
    }
    request->link()->respond(*request, table.finish(), std::move(buffers), true);
    row += rows;
  }
  return {};
}

}  // namespace pyserver::instance
