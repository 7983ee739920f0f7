// From a response table to the bytes around the tensors, and the list of spans in which both go out.
//
// Everything but the tensors is written into one buffer: names and shapes, then the tag and the length of each raw content, between
// which the tensors belong. Room at its front takes what needs the length of the rest: gRPC's prefix and, on a stream, the beginning
// of the outer message.
#include <protozero/basic_pbf_writer.hpp>
#include <protozero/buffer_vector.hpp>

#include <cstring>
#include <string>
#include <variant>

#include "protocol/grpc/framing.h"
#include "protocol/grpc/infer.h"
#include "protocol/response_output.h"

namespace pyserver::protocol::grpc {

namespace {

using Writer = protozero::basic_pbf_writer<std::vector<char>>;

// ModelInferResponse
constexpr uint32_t kModelName = 1, kModelVersion = 2, kId = 3, kParameters = 4, kOutputs = 5,
                   kRawOutputContents = 6;
// InferOutputTensor
constexpr uint32_t kName = 1, kDatatype = 2, kShape = 3;
// An entry of parameters, and InferParameter in it
constexpr uint32_t kKey = 1, kValue = 2;
constexpr uint32_t kBool = 1, kInt = 2, kString = 3, kDouble = 4;
// ModelStreamInferResponse
constexpr uint32_t kErrorMessage = 1, kInferResponse = 2;

constexpr std::string_view kFinalResponse = "triton_final_response";
constexpr size_t kMaxLengthBytes = 5;  // of a message's length as a varint
constexpr size_t kRoom = kPrefixBytes + 1 + kMaxLengthBytes;
// A message with larger framing does not keep its buffer.
constexpr size_t kKeptBytes = 1u << 20;
// Of the framing: most messages need no more, so their buffer never moves.
constexpr size_t kUsualBytes = 240;

void add_text(uint32_t field, std::string_view text, Writer* writer) {
  if (!text.empty()) writer->add_string(field, text.data(), text.size());
}

void add_parameter(const shm::Parameter& parameter, Writer* writer) {
  Writer entry(*writer, kParameters);
  entry.add_string(kKey, parameter.key);
  Writer value(entry, kValue);
  if (const auto* flag = std::get_if<bool>(&parameter.value)) {
    value.add_bool(kBool, *flag);
  } else if (const auto* integer = std::get_if<int64_t>(&parameter.value)) {
    value.add_int64(kInt, *integer);
  } else if (const auto* number = std::get_if<double>(&parameter.value)) {
    value.add_double(kDouble, *number);
  } else {
    value.add_string(kString, std::get<std::string>(parameter.value));
  }
}

void add_final(bool final, Writer* writer) {
  Writer entry(*writer, kParameters);
  entry.add_string(kKey, kFinalResponse.data(), kFinalResponse.size());
  Writer value(entry, kValue);
  value.add_bool(kBool, final);
}

std::span<const uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

void open(EncodedMessage* out) {
  out->clear();
  out->framing.reserve(kUsualBytes);
  out->framing.resize(kRoom);
}

class Encoder {
 public:
  Encoder(const model::ModelSpec& model, const protocol::DecodedRequest& request,
          const shm::ResponseView& response, const FindBytes& find, EncodedMessage* out)
      : model_(model),
        request_(request),
        response_(response),
        find_(find),
        out_(*out),
        writer_(out->framing) {}

  // `final` is for streams.
  base::Status run(std::optional<bool> final);

 private:
  void head(std::optional<bool> final);
  base::Status output(const shm::TensorEntry& entry, uint32_t classes);
  void describe(std::string_view name, base::Datatype datatype, std::span<const int64_t> shape);

  const model::ModelSpec& model_;
  const protocol::DecodedRequest& request_;
  const shm::ResponseView& response_;
  const FindBytes& find_;
  EncodedMessage& out_;
  Writer writer_;
  std::vector<int64_t> shape_;
};

base::Status Encoder::run(std::optional<bool> final) {
  open(&out_);
  head(final);
  out_.tensors.reserve(response_.outputs().size());
  size_t hint = 0;
  for (const shm::TensorEntry& entry : response_.outputs()) {
    uint32_t classes = 0;
    if (!request_.wishes.empty()) {
      const OutputWish* wished = find_wish(request_.wishes, response_.text(entry.name), hint++);
      if (wished == nullptr) continue;
      classes = wished->classification;
    }
    base::Status status = output(entry, classes);
    if (!status.ok()) return status;
  }
  return {};
}

void Encoder::head(std::optional<bool> final) {
  add_text(kModelName, model_.name, &writer_);
  add_text(kModelVersion, model_.version_text, &writer_);
  add_text(kId, request_.request_id, &writer_);
  for (const shm::ParameterEntry& entry : response_.parameters()) {
    add_parameter(response_.parameter(entry), &writer_);
  }
  if (final) add_final(*final, &writer_);
}

base::Status Encoder::output(const shm::TensorEntry& entry, uint32_t classes) {
  ResponseOutput output;
  base::Status status = read_output(model_, response_, entry, find_, &shape_, &output);
  if (!status.ok()) return status;
  if (classes == 0) {
    describe(output.name, output.datatype, output.shape);
    out_.tensors.push_back(output.bytes);
    return {};
  }
  Classification result;
  status = classify_output(model_, output, classes, &result);
  if (!status.ok()) return status;
  describe(output.name, base::Datatype::kBytes, result.shape);
  append_texts(result, &out_.kept.emplace_back());
  out_.tensors.push_back(bytes_of(out_.kept.back()));
  return {};
}

void Encoder::describe(std::string_view name, base::Datatype datatype,
                       std::span<const int64_t> shape) {
  Writer tensor(writer_, kOutputs);
  add_text(kName, name, &tensor);
  add_text(kDatatype, base::wire_name(datatype), &tensor);
  tensor.add_packed_int64(kShape, shape.begin(), shape.end());
}

void add_span(std::span<const uint8_t> bytes, EncodedMessage* out) {
  if (bytes.empty()) return;
  out->spans.push_back(bytes);
  out->byte_size += bytes.size();
}

// Puts gRPC's prefix, and on a stream the outer message, into the room before the framing; returns where it all begins now.
size_t begin_message(bool stream, uint64_t byte_size, std::vector<char>* framing) {
  char outer[1 + kMaxLengthBytes] = {};
  size_t outer_bytes = 0;
  if (stream) {
    outer[0] = kInferResponse << 3 | static_cast<char>(protozero::pbf_wire_type::length_delimited);
    outer_bytes = 1 + static_cast<size_t>(protozero::add_varint_to_buffer(outer + 1, byte_size));
  }
  const auto prefix = make_prefix({false, static_cast<uint32_t>(byte_size + outer_bytes)});
  const size_t begin = kRoom - kPrefixBytes - outer_bytes;
  std::memcpy(framing->data() + begin, prefix.data(), prefix.size());
  std::memcpy(framing->data() + begin + prefix.size(), outer, outer_bytes);
  return begin;
}

// Appends the tags and lengths of the raw contents, and lists framing and tensors in their order.
base::Status close(bool stream, EncodedMessage* out) {
  std::vector<char>& framing = out->framing;
  size_t at_tag = framing.size();
  uint64_t byte_size = framing.size() - kRoom;
  for (const std::span<const uint8_t> tensor : out->tensors) {
    framing.push_back(kRawOutputContents << 3 |
                      static_cast<char>(protozero::pbf_wire_type::length_delimited));
    protozero::add_varint_to_buffer(&framing, tensor.size());
    byte_size += tensor.size();
  }
  byte_size += framing.size() - at_tag;
  if (byte_size + kRoom > kMaxMessageBytes) {
    return base::invalid_argument("Response has byte size " + std::to_string(byte_size) +
                                  " which exceeds gRPC's byte size limit " +
                                  std::to_string(kMaxMessageBytes) + ".");
  }
  // Only now, when the framing no longer moves, can there be spans of it.
  size_t at = begin_message(stream, byte_size, &framing);
  out->spans.reserve(2 * out->tensors.size() + 1);
  const auto* const bytes = reinterpret_cast<const uint8_t*>(framing.data());
  for (const std::span<const uint8_t> tensor : out->tensors) {
    at_tag += 1 + static_cast<size_t>(protozero::length_of_varint(tensor.size()));
    if (tensor.empty()) continue;  // its tag goes out with what follows
    add_span({bytes + at, at_tag - at}, out);
    add_span(tensor, out);
    at = at_tag;
  }
  add_span({bytes + at, framing.size() - at}, out);
  return {};
}

}  // namespace

void EncodedMessage::clear() {
  spans.clear();
  byte_size = 0;
  tensors.clear();
  framing.clear();
  if (framing.capacity() > kKeptBytes) framing.shrink_to_fit();
  if (!kept.empty()) kept.clear();
}

base::Status encode(const model::ModelSpec& model, const protocol::DecodedRequest& request,
                    const shm::ResponseView& response, const FindBytes& find, EncodedMessage* out) {
  base::Status status = Encoder(model, request, response, find, out).run(std::nullopt);
  return status.ok() ? close(false, out) : status;
}

base::Status encode_stream(const model::ModelSpec& model, const protocol::DecodedRequest& request,
                           const shm::ResponseView& response, bool final, const FindBytes& find,
                           EncodedMessage* out) {
  base::Status status = Encoder(model, request, response, find, out).run(final);
  return status.ok() ? close(true, out) : status;
}

void encode_stream_notice(const StreamNotice& notice, EncodedMessage* out) {
  open(out);
  std::vector<char>& framing = out->framing;
  Writer writer(framing);
  add_text(kErrorMessage, notice.error_message, &writer);
  const size_t before = framing.size();
  {
    Writer response(writer, kInferResponse);
    add_text(kModelName, notice.model_name, &response);
    add_text(kModelVersion, notice.model_version, &response);
    add_text(kId, notice.id, &response);
    if (notice.final) add_final(*notice.final, &response);
  }
  // It is there even with nothing in it, which the writer would leave out.
  if (framing.size() == before) writer.add_message(kInferResponse, "", 0);
  const size_t begin = begin_message(false, framing.size() - kRoom, &framing);
  add_span({reinterpret_cast<const uint8_t*>(framing.data()) + begin, framing.size() - begin}, out);
}

}  // namespace pyserver::protocol::grpc
