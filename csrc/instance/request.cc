// Believing a request: its table, then each input's place, shape and size.
#include "instance/request.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "instance/link.h"

namespace pyserver::instance {

std::optional<uint64_t> element_count(std::span<const int64_t> shape) {
  uint64_t count = 1;
  for (const int64_t dim : shape) {
    if (dim < 0 || __builtin_mul_overflow(count, static_cast<uint64_t>(dim), &count)) {
      return std::nullopt;
    }
  }
  return count;
}

void Request::open(std::shared_ptr<Link> link, const shm::Execute& record) {
  link_ = std::move(link);
  record_ = record;
  cancelled_.store(false, std::memory_order_relaxed);
  answered_.store(false, std::memory_order_relaxed);
  response_count_.store(0, std::memory_order_relaxed);
  holds_ = 0;
  released_ = false;
}

void Request::close() {
  inputs_.clear();
  regions_.clear();
  unread_.reset();
  link_.reset();
}

base::Status Request::resolve(const shm::PeerRegions& regions, const Controls& controls) {
  const shm::RegionRef* region = find_region(record_.submitter, regions);
  if (region == nullptr) {
    return base::unavailable("the memory of the request's sender is gone");
  }
  const auto bytes = shm::bytes_at(**region, record_.table_offset, record_.table_bytes);
  if (!bytes) return base::internal_error("the request's table lies outside of its region");
  const base::Status status = table_.parse(*bytes);
  if (!status.ok()) return status;
  inputs_.reserve(table_.inputs().size());
  for (const shm::TensorEntry& entry : table_.inputs()) {
    const base::Status resolved = resolve_input(entry, regions);
    if (!resolved.ok()) return resolved;
  }
  if (!controls.specs.empty()) add_controls(controls);
  for (const shm::OutputEntry& entry : table_.outputs()) {
    if (entry.place != shm::Place::kRegion) {
      return base::unsupported(
          "output '" + std::string(table_.text(entry.name)) +
          "' asks for a client's shared memory, which this instance cannot reach");
    }
  }
  return {};
}

void Request::add_controls(const Controls& controls) {
  static constexpr int64_t kOnes[] = {1, 1};
  control_bytes_.resize(controls.specs.size());
  for (size_t index = 0; index < controls.specs.size(); ++index) {
    const ControlSpec& spec = controls.specs[index];
    if ((record_.flags & shm::kControlsGiven) != 0 && find_input(spec.name) != nullptr) continue;
    std::vector<uint8_t>& bytes = control_bytes_[index];
    write_control(spec, &bytes);
    std::erase_if(inputs_, [&](const Input& input) { return input.name == spec.name; });
    inputs_.push_back(Input{spec.name, spec.datatype, 0xffff,
                            std::span(kOnes).first(controls.batched ? 2 : 1), bytes,
                            shm::Location{}, true});
  }
}

void Request::write_control(const ControlSpec& spec, std::vector<uint8_t>* bytes) const {
  const auto flag = [&](uint8_t bit) {
    *bytes = (record_.flags & bit) != 0 ? spec.when_true : spec.when_false;
  };
  switch (spec.kind) {
    case ControlKind::kStart:
      return flag(shm::kSequenceStart);
    case ControlKind::kReady:
      return flag(shm::kSequenceReady);
    case ControlKind::kEnd:
      return flag(shm::kSequenceEnd);
    case ControlKind::kCorrelationId:
      break;
  }
  const bool ready = !null_request();
  if (spec.datatype == base::Datatype::kBytes) {
    const std::string_view text = ready ? table_.correlation_text() : std::string_view();
    const auto length = static_cast<uint32_t>(text.size());
    bytes->resize(sizeof length + text.size());
    std::memcpy(bytes->data(), &length, sizeof length);
    std::copy(text.begin(), text.end(), bytes->begin() + sizeof length);
  } else {  // the low bytes of the id, as many as the datatype has
    const uint64_t id = ready ? table_.header().correlation_id : 0;
    bytes->resize(std::min<size_t>(sizeof id, base::element_byte_size(spec.datatype)));
    std::memcpy(bytes->data(), &id, bytes->size());
  }
}

base::Status Request::resolve_input(const shm::TensorEntry& entry,
                                    const shm::PeerRegions& regions) {
  const std::string_view name = table_.text(entry.name);
  const auto refuse = [&](const char* why) {
    return base::internal_error("input '" + std::string(name) + "' " + why);
  };
  if (entry.place != shm::Place::kRegion) {
    return base::unsupported(
        "input '" + std::string(name) +
        "' lies in a client's shared memory, which this instance cannot reach");
  }
  const shm::RegionRef* region = find_region(entry.region, regions);
  if (region == nullptr) return refuse("lies in a region that is gone");
  const auto bytes = shm::bytes_at(**region, entry.offset, entry.byte_size);
  if (!bytes) return refuse("lies outside of its region");
  const std::span<const int64_t> shape = table_.shape(entry);
  const std::optional<uint64_t> count = element_count(shape);
  if (!count) return refuse("has an impossible shape");
  const uint32_t element = base::element_byte_size(entry.datatype);
  // BYTES are walked where they are decoded, with the same suspicion.
  if (entry.datatype != base::Datatype::kBytes) {
    uint64_t expected = 0;
    if (element == 0 || __builtin_mul_overflow(*count, uint64_t{element}, &expected) ||
        expected != entry.byte_size) {
      return refuse("has a byte size that does not follow from its shape");
    }
  }
  inputs_.push_back(Input{name, entry.datatype, entry.index, shape, *bytes,
                          shm::Location{entry.place, entry.region, entry.offset, entry.byte_size},
                          false});
  return {};
}

const shm::RegionRef* Request::find_region(uint32_t peer, const shm::PeerRegions& regions) {
  for (const auto& [known, region] : regions_) {
    if (known == peer) return &region;
  }
  shm::RegionRef region = regions.find(peer);
  if (region == nullptr) return nullptr;
  return &regions_.emplace_back(peer, std::move(region)).second;
}

const Input* Request::find_input(std::string_view name) const {
  for (const Input& input : inputs_) {
    if (input.name == name) return &input;
  }
  return nullptr;
}

bool Request::wants(std::string_view output) const {
  const auto outputs = table_.outputs();
  return outputs.empty() || std::any_of(outputs.begin(), outputs.end(), [&](const auto& entry) {
           return table_.text(entry.name) == output;
         });
}

std::optional<shm::Location> Request::locate(const uint8_t* data, uint64_t size) const {
  const auto address = reinterpret_cast<uintptr_t>(data);
  for (const Input& input : inputs_) {
    if (input.control) continue;
    const auto begin = reinterpret_cast<uintptr_t>(input.bytes.data());
    if (address < begin || address - begin > input.bytes.size()) continue;
    if (size > input.bytes.size() - (address - begin)) continue;
    shm::Location location = input.location;
    location.offset += address - begin;
    location.byte_size = size;
    return location;
  }
  return std::nullopt;
}

std::unique_ptr<Hold> Hold::take(RequestRef request) {
  if (!request->link_->add_hold(request.get())) return nullptr;
  return std::unique_ptr<Hold>(new Hold(std::move(request)));
}

Hold::~Hold() { request_->link_->drop_hold(request_.get()); }

}  // namespace pyserver::instance
