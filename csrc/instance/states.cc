// Slots of state: found by number, believed by generation, joined and split for batches.
#include "instance/states.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "instance/link.h"

namespace pyserver::instance {

States::Slot& States::slot_of(const Request& request) {
  return request.null_request() ? dummy_ : slots_[request.slot()];
}

void States::start(Slot* slot) {
  slot->values.resize(specs_.size());
  for (size_t state = 0; state < specs_.size(); ++state) {
    const StateSpec& spec = specs_[state];
    Value& value = slot->values[state];
    value.shape = spec.shape;
    value.byte_size = spec.initial.size();
    uint8_t* data = value.current.reserve(value.byte_size);
    if (value.byte_size > 0) std::memcpy(data, spec.initial.data(), value.byte_size);
  }
}

bool States::equal_shapes(const Slot& one, const Slot& other) const {
  for (size_t state = 0; state < specs_.size(); ++state) {
    if (one.values[state].shape != other.values[state].shape) return false;
  }
  return true;
}

void States::open(std::vector<RequestRef>* requests, std::vector<uint32_t>* groups) {
  written_.assign(specs_.size(), {});
  std::erase_if(*requests, [&](const RequestRef& request) { return !open_one(*request); });
  groups->assign(requests->size(), 0);
  std::vector<const Slot*> first;  // of each group
  for (size_t index = 0; index < requests->size(); ++index) {
    const Slot& slot = slot_of(*(*requests)[index]);
    const auto found = std::find_if(first.begin(), first.end(),
                                    [&](const Slot* other) { return equal_shapes(slot, *other); });
    (*groups)[index] = static_cast<uint32_t>(found - first.begin());
    if (found == first.end()) first.push_back(&slot);
  }
  if (first.size() < 2) return;
  std::vector<std::pair<uint32_t, RequestRef>> sorted;
  sorted.reserve(requests->size());
  for (size_t index = 0; index < requests->size(); ++index) {
    sorted.emplace_back((*groups)[index], std::move((*requests)[index]));
  }
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& one, const auto& other) { return one.first < other.first; });
  for (size_t index = 0; index < sorted.size(); ++index) {
    (*groups)[index] = sorted[index].first;
    (*requests)[index] = std::move(sorted[index].second);
  }
}

bool States::open_one(Request& request) {
  Slot& slot = slot_of(request);
  // Without a generation it is no sequence of core's (a warm-up), and has a state for this once.
  if (request.null_request() || request.starts_sequence() || request.generation() == 0) {
    start(&slot);
    slot.generation = request.generation();
    return true;
  }
  if (slot.generation == request.generation()) return true;
  request.link()->fail(request, base::internal_error("the state of this sequence is not in slot " +
                                                     std::to_string(request.slot()) +
                                                     " of its instance; begin the sequence anew"));
  return false;
}

Gathered States::input(std::span<const RequestRef> requests, size_t state) {
  const Value& first = slot_of(*requests.front()).values[state];
  Gathered gathered;
  gathered.present = true;
  gathered.datatype = specs_[state].datatype;
  gathered.shape = first.shape;
  if (requests.size() == 1) {
    gathered.bytes = {first.current.data(), first.byte_size};
    return gathered;
  }
  gathered.shape[0] = static_cast<int64_t>(requests.size());
  uint64_t total = 0;
  for (const RequestRef& request : requests) total += slot_of(*request).values[state].byte_size;
  if (inputs_.size() < specs_.size()) inputs_.resize(specs_.size());
  uint8_t* target = inputs_[state].reserve(total);
  uint64_t at = 0;
  for (const RequestRef& request : requests) {
    const Value& value = slot_of(*request).values[state];
    if (value.byte_size > 0) std::memcpy(target + at, value.current.data(), value.byte_size);
    at += value.byte_size;
  }
  copied_bytes_ += total;
  gathered.bytes = {target, total};
  return gathered;
}

uint8_t* States::output(std::span<const RequestRef> requests, size_t state,
                        std::vector<int64_t> batch_shape, uint64_t byte_size,
                        std::vector<uint64_t> row_offsets) {
  Written& written = written_[state];
  written.written = true;
  written.direct = requests.size() == 1;
  if (written.direct) {
    Value& value = slot_of(*requests.front()).values[state];
    const bool in_place = specs_[state].same_buffer && byte_size == value.byte_size;
    written.data = in_place ? value.current.data() : value.next.reserve(byte_size);
  } else {
    if (outputs_.size() < specs_.size()) outputs_.resize(specs_.size());
    written.data = outputs_[state].reserve(byte_size);
  }
  written.shape = std::move(batch_shape);
  written.byte_size = byte_size;
  written.row_offsets = std::move(row_offsets);
  return written.data;
}

void States::commit(std::span<const RequestRef> requests) {
  for (size_t state = 0; state < specs_.size(); ++state) {
    Written& written = written_[state];
    if (!written.written) continue;
    for (size_t row = 0; row < requests.size(); ++row) {
      take(*requests[row], state, written, row, requests.size());
    }
    written = {};
  }
  for (const RequestRef& request : requests) {
    // Nobody reads the state of a sequence that has ended; large ones are not kept for the next one in its slot.
    if (request->null_request() || !request->ends_sequence()) continue;
    slots_.erase(request->slot());
  }
}

void States::take(const Request& request, size_t state, const Written& written, size_t row,
                  size_t rows) {
  if (request.null_request()) return;
  Value& value = slot_of(request).values[state];
  if (written.direct) {
    if (written.data == value.next.data()) std::swap(value.current, value.next);
    value.shape = written.shape;
    value.byte_size = written.byte_size;
    return;
  }
  uint64_t begin = row * (written.byte_size / rows);
  uint64_t end = begin + written.byte_size / rows;
  if (!written.row_offsets.empty()) {
    begin = written.row_offsets[row];
    end = written.row_offsets[row + 1];
  }
  value.shape = written.shape;
  value.shape[0] = 1;
  value.byte_size = end - begin;
  uint8_t* data = value.current.reserve(value.byte_size);
  if (value.byte_size > 0) std::memcpy(data, written.data + begin, value.byte_size);
  copied_bytes_ += value.byte_size;
}

uint64_t States::held_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [number, slot] : slots_) {
    for (const Value& value : slot.values) {
      bytes += value.current.capacity() + value.next.capacity();
    }
  }
  return bytes;
}

}  // namespace pyserver::instance
