// Writing tables flat, and checking them before anybody believes them.
#include "shm/table.h"

#include <bit>
#include <cstring>
#include <optional>

#include "shm/layout.h"

namespace pyserver::shm {

namespace {

template <typename T>
void append(std::vector<uint8_t>* bytes, const std::vector<T>& items) {
  const auto* data = reinterpret_cast<const uint8_t*>(items.data());
  bytes->insert(bytes->end(), data, data + items.size() * sizeof(T));
}

Text put_text(std::string* texts, std::string_view text) {
  const Text place{static_cast<uint32_t>(texts->size()), static_cast<uint32_t>(text.size())};
  texts->append(text);
  return place;
}

ParameterEntry make_parameter(const Parameter& parameter, std::string* texts) {
  ParameterEntry entry;
  entry.key = put_text(texts, parameter.key);
  if (const auto* flag = std::get_if<bool>(&parameter.value)) {
    entry.type = ParameterType::kBool;
    entry.bits = *flag ? 1 : 0;
  } else if (const auto* integer = std::get_if<int64_t>(&parameter.value)) {
    entry.type = ParameterType::kInt;
    entry.bits = static_cast<uint64_t>(*integer);
  } else if (const auto* number = std::get_if<double>(&parameter.value)) {
    entry.type = ParameterType::kDouble;
    entry.bits = std::bit_cast<uint64_t>(*number);
  } else {
    entry.type = ParameterType::kString;
    entry.bits = std::bit_cast<uint64_t>(put_text(texts, std::get<std::string>(parameter.value)));
  }
  return entry;
}

TensorEntry make_tensor(std::string_view name, uint16_t index, base::Datatype datatype,
                        std::span<const int64_t> shape, const Location& location,
                        std::vector<int64_t>* shapes, std::string* texts) {
  TensorEntry entry;
  entry.name = put_text(texts, name);
  entry.datatype = datatype;
  entry.place = location.place;
  entry.index = index;
  entry.rank = static_cast<uint32_t>(shape.size());
  entry.shape_offset = static_cast<uint32_t>(shapes->size() * sizeof(int64_t));
  entry.region = location.region;
  entry.offset = location.offset;
  entry.byte_size = location.byte_size;
  shapes->insert(shapes->end(), shape.begin(), shape.end());
  return entry;
}

void move_by(Text* text, size_t distance) { text->offset += static_cast<uint32_t>(distance); }

void move_parameters(std::vector<ParameterEntry>* parameters, size_t distance) {
  for (ParameterEntry& entry : *parameters) {
    move_by(&entry.key, distance);
    if (entry.type != ParameterType::kString) continue;
    Text text = std::bit_cast<Text>(entry.bits);
    move_by(&text, distance);
    entry.bits = std::bit_cast<uint64_t>(text);
  }
}

void move_tensors(std::vector<TensorEntry>* tensors, size_t shapes_at, size_t text_at) {
  for (TensorEntry& entry : *tensors) {
    move_by(&entry.name, text_at);
    entry.shape_offset += static_cast<uint32_t>(shapes_at);
  }
}

template <typename T>
std::span<const T> items_at(const std::vector<uint8_t>& bytes, size_t offset, size_t count) {
  return {reinterpret_cast<const T*>(bytes.data() + offset), count};
}

}  // namespace

void RequestBuilder::clear() {
  header = RequestHeader{};
  inputs_.clear();
  outputs_.clear();
  parameters_.clear();
  shapes_.clear();
  text_.clear();
  request_id_.clear();
  correlation_text_.clear();
}

Text RequestBuilder::add_text(std::string_view text) { return put_text(&text_, text); }

void RequestBuilder::add_input(std::string_view name, uint16_t index, base::Datatype datatype,
                               std::span<const int64_t> shape, const Location& location) {
  inputs_.push_back(make_tensor(name, index, datatype, shape, location, &shapes_, &text_));
}

void RequestBuilder::add_output(std::string_view name, uint16_t index, const Location& target) {
  OutputEntry entry;
  entry.name = add_text(name);
  entry.index = index;
  entry.place = target.place;
  entry.region = target.region;
  entry.offset = target.offset;
  entry.byte_size = target.byte_size;
  outputs_.push_back(entry);
}

void RequestBuilder::add_parameter(const Parameter& parameter) {
  parameters_.push_back(make_parameter(parameter, &text_));
}

std::span<const uint8_t> RequestBuilder::finish() {
  header.request_id = add_text(request_id_);
  header.correlation_text = add_text(correlation_text_);
  header.input_count = static_cast<uint16_t>(inputs_.size());
  header.output_count = static_cast<uint16_t>(outputs_.size());
  header.parameter_count = static_cast<uint32_t>(parameters_.size());
  const size_t shapes_at = sizeof header + inputs_.size() * sizeof(TensorEntry) +
                           outputs_.size() * sizeof(OutputEntry) +
                           parameters_.size() * sizeof(ParameterEntry);
  const size_t text_at = shapes_at + shapes_.size() * sizeof(int64_t);
  header.total_bytes = static_cast<uint32_t>(text_at + text_.size());
  move_by(&header.request_id, text_at);
  move_by(&header.correlation_text, text_at);
  move_tensors(&inputs_, shapes_at, text_at);
  for (OutputEntry& entry : outputs_) move_by(&entry.name, text_at);
  move_parameters(&parameters_, text_at);
  bytes_.resize(sizeof header);
  std::memcpy(bytes_.data(), &header, sizeof header);
  append(&bytes_, inputs_);
  append(&bytes_, outputs_);
  append(&bytes_, parameters_);
  append(&bytes_, shapes_);
  bytes_.insert(bytes_.end(), text_.begin(), text_.end());
  return bytes_;
}

void ResponseBuilder::clear() {
  outputs_.clear();
  parameters_.clear();
  shapes_.clear();
  text_.clear();
  message_.clear();
}

Text ResponseBuilder::add_text(std::string_view text) { return put_text(&text_, text); }

void ResponseBuilder::add_output(std::string_view name, uint16_t index, base::Datatype datatype,
                                 std::span<const int64_t> shape, const Location& location) {
  outputs_.push_back(make_tensor(name, index, datatype, shape, location, &shapes_, &text_));
}

void ResponseBuilder::add_parameter(const Parameter& parameter) {
  parameters_.push_back(make_parameter(parameter, &text_));
}

std::span<const uint8_t> ResponseBuilder::finish() {
  ResponseHeader header;
  header.message = add_text(message_);
  header.output_count = static_cast<uint16_t>(outputs_.size());
  header.parameter_count = static_cast<uint32_t>(parameters_.size());
  const size_t shapes_at = sizeof header + outputs_.size() * sizeof(TensorEntry) +
                           parameters_.size() * sizeof(ParameterEntry);
  const size_t text_at = shapes_at + shapes_.size() * sizeof(int64_t);
  header.total_bytes = static_cast<uint32_t>(text_at + text_.size());
  move_by(&header.message, text_at);
  move_tensors(&outputs_, shapes_at, text_at);
  move_parameters(&parameters_, text_at);
  bytes_.resize(sizeof header);
  std::memcpy(bytes_.data(), &header, sizeof header);
  append(&bytes_, outputs_);
  append(&bytes_, parameters_);
  append(&bytes_, shapes_);
  bytes_.insert(bytes_.end(), text_.begin(), text_.end());
  return bytes_;
}

Parameter TableView::parameter(const ParameterEntry& entry) const {
  Parameter made{std::string(text(entry.key)), false};
  switch (entry.type) {
    case ParameterType::kBool:
      made.value = entry.bits != 0;
      break;
    case ParameterType::kInt:
      made.value = static_cast<int64_t>(entry.bits);
      break;
    case ParameterType::kDouble:
      made.value = std::bit_cast<double>(entry.bits);
      break;
    case ParameterType::kString:
      made.value = std::string(text(std::bit_cast<Text>(entry.bits)));
      break;
  }
  return made;
}

bool TableView::check_tensors(std::span<const TensorEntry> tensors) const {
  for (const TensorEntry& tensor : tensors) {
    if (!check_text(tensor.name) || tensor.rank > kMaxRank ||
        tensor.shape_offset % sizeof(int64_t) != 0 ||
        !fits(tensor.shape_offset, tensor.rank * sizeof(int64_t)) ||
        static_cast<uint8_t>(tensor.datatype) > base::kMaxDatatype ||
        static_cast<uint8_t>(tensor.place) > static_cast<uint8_t>(Place::kCudaClient)) {
      return false;
    }
  }
  return true;
}

bool TableView::check_parameters() const {
  for (const ParameterEntry& entry : parameters_) {
    if (!check_text(entry.key) || entry.type > ParameterType::kString) return false;
    if (entry.type == ParameterType::kString && !check_text(std::bit_cast<Text>(entry.bits))) {
      return false;
    }
  }
  return true;
}

base::Status RequestView::parse(std::span<const uint8_t> shared) {
  const base::Status broken = base::internal_error("a request table is malformed");
  if (shared.size() < sizeof header_ || shared.size() > kMaxTableBytes) return broken;
  bytes_.assign(shared.begin(), shared.end());  // copied first: the other process may go on writing
  std::memcpy(&header_, bytes_.data(), sizeof header_);
  size_t at = sizeof header_;
  const size_t end = at + header_.input_count * sizeof(TensorEntry) +
                     header_.output_count * sizeof(OutputEntry) +
                     uint64_t{header_.parameter_count} * sizeof(ParameterEntry);
  if (header_.magic != kRequestMagic || header_.total_bytes != bytes_.size() || end > bytes_.size())
    return broken;
  inputs_ = items_at<TensorEntry>(bytes_, at, header_.input_count);
  at += inputs_.size_bytes();
  outputs_ = items_at<OutputEntry>(bytes_, at, header_.output_count);
  at += outputs_.size_bytes();
  parameters_ = items_at<ParameterEntry>(bytes_, at, header_.parameter_count);
  bool good = check_text(header_.request_id) && check_text(header_.correlation_text) &&
              check_tensors(inputs_) && check_parameters();
  for (const OutputEntry& entry : outputs_) {
    good = good && check_text(entry.name) && entry.place <= Place::kCudaClient;
  }
  return good ? base::Status() : broken;
}

base::Status ResponseView::parse(std::span<const uint8_t> shared) {
  const base::Status broken = base::internal_error("a response table is malformed");
  if (shared.size() < sizeof header_ || shared.size() > kMaxTableBytes) return broken;
  bytes_.assign(shared.begin(), shared.end());
  std::memcpy(&header_, bytes_.data(), sizeof header_);
  const size_t tensors_end = sizeof header_ + header_.output_count * sizeof(TensorEntry);
  const uint64_t end = tensors_end + uint64_t{header_.parameter_count} * sizeof(ParameterEntry);
  if (header_.magic != kResponseMagic || header_.total_bytes != bytes_.size() ||
      end > bytes_.size())
    return broken;
  outputs_ = items_at<TensorEntry>(bytes_, sizeof header_, header_.output_count);
  parameters_ = items_at<ParameterEntry>(bytes_, tensors_end, header_.parameter_count);
  const bool good = check_text(header_.message) && check_tensors(outputs_) && check_parameters();
  return good ? base::Status() : broken;
}

namespace {

std::optional<RequestHeader> read_header(std::span<const uint8_t> shared) {
  RequestHeader header;
  if (shared.size() < sizeof header) return std::nullopt;
  std::memcpy(&header, shared.data(), sizeof header);
  if (header.magic != kRequestMagic) return std::nullopt;
  return header;
}

}  // namespace

void read_correlation(std::span<const uint8_t> shared, uint64_t* id, std::string* text) {
  const std::optional<RequestHeader> header = read_header(shared);
  *id = header ? header->correlation_id : 0;
  text->clear();
  if (!header || header->correlation_text.length == 0) return;
  const auto [offset, length] = header->correlation_text;
  if (offset > shared.size() || length > shared.size() - offset) return;
  text->assign(reinterpret_cast<const char*>(shared.data()) + offset, length);
}

void read_cache_key(std::span<const uint8_t> shared, uint64_t key[2]) {
  const std::optional<RequestHeader> header = read_header(shared);
  for (size_t half = 0; half < 2; ++half) key[half] = header ? header->cache_key[half] : 0;
}

uint64_t read_parent(std::span<const uint8_t> shared) {
  const std::optional<RequestHeader> header = read_header(shared);
  return header ? header->parent : 0;
}

}  // namespace pyserver::shm
