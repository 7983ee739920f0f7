// What a sample consists of: its checks, its tensors' bytes, its requests' tables.
#include <algorithm>
#include <cstring>
#include <random>
#include <utility>

#include "engine/warm_up.h"
#include "model/checks.h"
#include "shm/layout.h"

namespace pyserver::engine {

namespace {

constexpr uint64_t kAlignment = 64;
// The same numbers each time: a model either copes with them or never loads.
constexpr uint64_t kSeed = 20;

// Nothing when there is no such number of bytes.
std::optional<uint64_t> size_of(const WarmUpInput& input, std::span<const int64_t> shape) {
  if (input.data == WarmUpInput::Data::kGiven) return input.given.size();
  // An empty string is its length, four zeros.
  uint64_t size = input.datatype == base::Datatype::kBytes
                      ? sizeof(uint32_t)
                      : base::element_byte_size(input.datatype);
  for (const int64_t dim : shape) {
    if (dim < 0 || __builtin_mul_overflow(size, static_cast<uint64_t>(dim), &size))
      return std::nullopt;
  }
  return size;
}

void fill_randomly(base::Datatype datatype, std::span<uint8_t> bytes) {
  std::mt19937_64 numbers(kSeed);  // NOLINT: no secret
  for (size_t offset = 0; offset < bytes.size(); offset += sizeof(uint64_t)) {
    const uint64_t number = numbers();
    std::memcpy(bytes.data() + offset, &number, std::min(sizeof number, bytes.size() - offset));
  }
  if (datatype != base::Datatype::kBool) return;
  for (uint8_t& byte : bytes) byte &= 1;  // a bool is nothing else
}

}  // namespace

base::Status WarmUp::make(std::shared_ptr<const model::ModelSpec> spec, uint32_t requests,
                          std::vector<WarmUpInput> inputs, std::shared_ptr<const WarmUp>* made) {
  std::shared_ptr<WarmUp> sample(new WarmUp());
  sample->spec_ = std::move(spec);
  sample->requests_ = std::max(requests, uint32_t{1});
  if (sample->spec_->sequence) {
    // A whole sequence of one step, so that nothing of it stays in the model.
    sample->flags_ = shm::kSequenceStart | shm::kSequenceEnd | shm::kSequenceReady;
  }
  for (WarmUpInput& input : inputs) {
    if (const base::Status status = sample->place(std::move(input)); !status.ok()) return status;
  }
  const base::Status status = sample->check();
  if (status.ok()) *made = std::move(sample);
  return status;
}

base::Status WarmUp::place(WarmUpInput input) {
  Placed placed;
  const int known = spec_->input_index(input.name);
  const bool shape_tensor = known >= 0 && spec_->inputs[static_cast<size_t>(known)].shape_tensor;
  if (known >= 0) placed.index = static_cast<uint16_t>(known);
  if (spec_->max_batch_size > 0 && !shape_tensor) placed.shape.push_back(1);
  placed.shape.insert(placed.shape.end(), input.dims.begin(), input.dims.end());
  if (input.server_made) flags_ |= shm::kControlsGiven;
  const std::optional<uint64_t> size = size_of(input, placed.shape);
  if (!size) {
    return base::invalid_argument("warmup setting has an impossible shape for input '" +
                                  input.name + "'");
  }
  placed.byte_size = *size;
  placed.offset = byte_size_;
  uint64_t end = 0;
  if (__builtin_add_overflow(byte_size_, *size, &end) ||
      __builtin_add_overflow(end, kAlignment - 1, &end)) {
    return base::invalid_argument("warmup setting has more bytes than there can be");
  }
  byte_size_ = end / kAlignment * kAlignment;
  placed.input = std::move(input);
  placed_.push_back(std::move(placed));
  return {};
}

// As of a request over the network, and takes over what the check makes of shapes.
base::Status WarmUp::check() {
  model::RequestDraft draft;
  draft.begin(*spec_);
  std::vector<Placed*> checked;
  for (Placed& placed : placed_) {
    if (placed.index == 0xffff) continue;
    const base::Status status =
        draft.add_input(placed.input.name, placed.input.datatype, placed.shape);
    if (!status.ok()) return status;
    model::InputDraft& input = draft.inputs.back();
    input.location.byte_size = placed.byte_size;
    if (placed.input.data == WarmUpInput::Data::kGiven) {
      input.bytes = {reinterpret_cast<const uint8_t*>(placed.input.given.data()),
                     placed.input.given.size()};
      input.readable = true;
    }
    checked.push_back(&placed);
  }
  if (const base::Status status = model::check(&draft); !status.ok()) return status;
  for (size_t index = 0; index < checked.size(); ++index) {
    const std::span<const int64_t> shape = draft.dims(draft.inputs[index].backend_shape);
    checked[index]->shape.assign(shape.begin(), shape.end());
  }
  for (const Placed& placed : placed_) {
    if (placed.index != 0xffff || placed.input.server_made) continue;
    return base::invalid_argument("unexpected inference input '" + placed.input.name +
                                  "' for model '" + spec_->name + "'");
  }
  return {};
}

void WarmUp::fill(std::span<uint8_t> tensors) const {
  for (const Placed& placed : placed_) {
    const std::span<uint8_t> bytes = tensors.subspan(placed.offset, placed.byte_size);
    const bool strings = placed.input.datatype == base::Datatype::kBytes;
    if (placed.input.data == WarmUpInput::Data::kGiven) {
      std::copy_n(placed.input.given.data(), bytes.size(), bytes.data());
    } else if (placed.input.data == WarmUpInput::Data::kRandom && !strings) {
      fill_randomly(placed.input.datatype, bytes);
    } else {  // the memory is not new
      std::fill(bytes.begin(), bytes.end(), uint8_t{0});
    }
  }
}

std::span<const uint8_t> WarmUp::table(uint32_t index, uint64_t offset,
                                       shm::RequestBuilder* builder) const {
  builder->clear();
  builder->header.model = spec_->handle;
  builder->header.flags = flags_ & (shm::kSequenceStart | shm::kSequenceEnd);
  builder->header.batch_size = 1;
  if (spec_->sequence) {  // requests of one batch are steps of different sequences
    if (spec_->correlation_datatype == base::Datatype::kBytes) {
      builder->set_correlation_text(std::to_string(index + 1));
    } else {
      builder->header.correlation_id = uint64_t{index} + 1;
    }
  }
  for (const Placed& placed : placed_) {
    builder->add_input(
        placed.input.name, placed.index, placed.input.datatype, placed.shape,
        {shm::Place::kRegion, shm::kCorePeer, offset + placed.offset, placed.byte_size});
  }
  return builder->finish();
}

}  // namespace pyserver::engine
