// The one copy of a batch, and the slices of its answer.
#include "instance/gather.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace pyserver::instance {

namespace {

constexpr size_t kCacheLine = 64;

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

void Gatherer::Free::operator()(uint8_t* memory) const { std::free(memory); }

uint8_t* Gatherer::storage(size_t slot, uint64_t byte_size) {
  if (slot >= storages_.size()) storages_.resize(slot + 1);
  Storage& storage = storages_[slot];
  if (storage.memory == nullptr || storage.capacity < byte_size) {
    const uint64_t capacity =
        (std::max<uint64_t>(byte_size, 1) + kCacheLine - 1) / kCacheLine * kCacheLine;
    storage.memory.reset(static_cast<uint8_t*>(std::aligned_alloc(kCacheLine, capacity)));
    if (storage.memory == nullptr) throw std::bad_alloc();
    storage.capacity = capacity;
  }
  return storage.memory.get();
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
  uint8_t* target = storage(slot, total);
  uint64_t at = 0;
  for (const RequestRef& request : batch.requests) {
    const std::span<const uint8_t> bytes = request->find_input(name)->bytes;
    if (!bytes.empty()) std::memcpy(target + at, bytes.data(), bytes.size());
    at += bytes.size();
  }
  copied_bytes_ += total;
  gathered->bytes = {target, total};
  return {};
}

namespace {

base::Status check_output(const Batch& batch, const BatchOutput& output) {
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
  const uint64_t row_bytes =
      element_count(row_shape).value_or(0) * base::element_byte_size(output.datatype);
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
  uint64_t row = 0;
  for (const RequestRef& request : batch.requests) {
    const uint64_t rows = request->batch_size();
    std::vector<BufferRef> buffers;
    table.clear();
    for (const BatchOutput& output : outputs) {
      if (!request->wants(output.name)) continue;
      shape.assign(output.shape.begin(), output.shape.end());
      Slice bytes{0, output.buffer->byte_size()};
      if (!whole) {
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
