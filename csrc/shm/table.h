// Tables: what a request or a response consists of, laid out flat in the region of whoever made it.
//
//   RequestHeader | TensorEntry x inputs | OutputEntry x outputs | ParameterEntry x n | shapes (int64) | text
//   ResponseHeader | TensorEntry x outputs | ParameterEntry x n | shapes (int64) | text
//
// All offsets inside a table count from its start; lengths are in bytes. Tensors' bytes are elsewhere: TensorEntry says in which
// peer's region (or, later, in which client region) and at what offset. A reader copies the table out and checks it once
// (RequestView::parse, ResponseView::parse); afterwards its accessors need no checks.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/datatype.h"
#include "base/status.h"

namespace pyserver::shm {

inline constexpr uint32_t kRequestMagic = 0x31514552;   // "REQ1"
inline constexpr uint32_t kResponseMagic = 0x31505352;  // "RSP1"
inline constexpr uint32_t kMaxTableBytes = 64u << 20;
inline constexpr uint32_t kMaxRank = 64;

struct Text {
  uint32_t offset = 0;
  uint32_t length = 0;
};

enum class Place : uint8_t {
  kRegion = 0,        // `region` is a peer id
  kSystemClient = 1,  // `region` is the number of a registered system shared-memory region
  kCudaClient = 2,    // likewise, CUDA
};

struct TensorEntry {
  Text name;
  base::Datatype datatype = base::Datatype::kInvalid;
  Place place = Place::kRegion;
  uint16_t index = 0;  // of the input or output in the model config; 0xffff: not in it
  uint32_t rank = 0;
  uint32_t shape_offset = 0;  // int64 x rank, 8-byte aligned
  uint32_t region = 0;
  uint64_t offset = 0;
  uint64_t byte_size = 0;
};
static_assert(sizeof(TensorEntry) == 40);

struct OutputEntry {
  Text name;
  uint16_t index = 0;
  Place place =
      Place::kRegion;  // kRegion: the instance chooses; else the client's region is the target
  uint8_t reserved = 0;
  uint32_t region = 0;
  uint64_t offset = 0;
  uint64_t byte_size = 0;
};
static_assert(sizeof(OutputEntry) == 32);

enum class ParameterType : uint8_t { kBool = 0, kInt = 1, kDouble = 2, kString = 3 };

struct ParameterEntry {
  Text key;
  ParameterType type = ParameterType::kBool;
  uint8_t reserved[7] = {};
  uint64_t bits = 0;  // the value; of a string: its Text (offset in the low half)
};
static_assert(sizeof(ParameterEntry) == 24);

struct RequestHeader {
  uint32_t magic = kRequestMagic;
  uint32_t total_bytes = 0;
  uint32_t model = 0;
  uint32_t flags = 0;  // kSequenceStart, kSequenceEnd
  uint64_t correlation_id = 0;
  Text correlation_text;  // non-empty: the correlation id is this string
  Text request_id;
  uint64_t priority = 0;
  uint64_t timeout_us = 0;
  uint32_t batch_size = 0;
  uint16_t input_count = 0;
  uint16_t output_count = 0;  // 0: every output of the config
  uint32_t parameter_count = 0;
  uint32_t reserved = 0;
  uint64_t cache_key[2] = {};  // of the response cache; 0, 0: the answer is not to be cached
  uint64_t parent =
      0;  // of an instance's call: its batch, which is not over before this is; 0: none
};
static_assert(sizeof(RequestHeader) == 96);

struct ResponseHeader {
  uint32_t magic = kResponseMagic;
  uint32_t total_bytes = 0;
  uint16_t output_count = 0;
  uint16_t reserved = 0;
  uint32_t parameter_count = 0;
  Text message;  // of an error
};
static_assert(sizeof(ResponseHeader) == 24);

using ParameterValue = std::variant<bool, int64_t, double, std::string>;

struct Parameter {
  std::string key;
  ParameterValue value;
};

// Where a tensor's bytes are.
struct Location {
  Place place = Place::kRegion;
  uint32_t region = 0;
  uint64_t offset = 0;
  uint64_t byte_size = 0;
};

// --- writing ---

// Collects a table in this process's memory; reuse one builder for many tables (clear() keeps its storage).
class RequestBuilder {
 public:
  RequestHeader header;  // counts, texts and sizes are filled by finish()

  void clear();
  void set_request_id(std::string_view id) { request_id_ = id; }
  void set_correlation_text(std::string_view text) { correlation_text_ = text; }
  void add_input(std::string_view name, uint16_t index, base::Datatype datatype,
                 std::span<const int64_t> shape, const Location& location);
  void add_output(std::string_view name, uint16_t index, const Location& target = {});
  void add_parameter(const Parameter& parameter);
  // The finished bytes, once: call clear() before the builder is used again. Texts and shapes were copied when they were added.
  std::span<const uint8_t> finish();

  // What was added so far; before finish().
  std::span<const TensorEntry> inputs() const { return inputs_; }
  std::span<const OutputEntry> outputs() const { return outputs_; }
  std::span<const ParameterEntry> parameters() const { return parameters_; }
  std::string_view correlation_text() const { return correlation_text_; }
  std::string_view text(Text text) const {
    return std::string_view(text_).substr(text.offset, text.length);
  }
  std::span<const int64_t> shape(const TensorEntry& tensor) const {
    return std::span(shapes_).subspan(tensor.shape_offset / sizeof(int64_t), tensor.rank);
  }

 private:
  Text add_text(std::string_view text);
  std::vector<TensorEntry> inputs_;
  std::vector<OutputEntry> outputs_;
  std::vector<ParameterEntry> parameters_;
  std::vector<int64_t> shapes_;
  std::string text_;
  std::string request_id_;
  std::string correlation_text_;
  std::vector<uint8_t> bytes_;
};

class ResponseBuilder {
 public:
  void clear();
  void set_message(std::string_view message) { message_ = message; }
  void add_output(std::string_view name, uint16_t index, base::Datatype datatype,
                  std::span<const int64_t> shape, const Location& location);
  void add_parameter(const Parameter& parameter);
  std::span<const uint8_t> finish();

 private:
  Text add_text(std::string_view text);
  std::vector<TensorEntry> outputs_;
  std::vector<ParameterEntry> parameters_;
  std::vector<int64_t> shapes_;
  std::string text_;
  std::string message_;
  std::vector<uint8_t> bytes_;
};

// --- reading ---

// A checked copy of a table. parse() refuses anything whose numbers do not fit; nothing is believed before.
class TableView {
 public:
  TableView() = default;
  TableView(TableView&&) = default;  // the spans point into bytes_, whose storage moves along
  TableView& operator=(TableView&&) = default;
  TableView(const TableView&) = delete;
  TableView& operator=(const TableView&) = delete;

  std::string_view text(Text text) const {
    return {reinterpret_cast<const char*>(bytes_.data()) + text.offset, text.length};
  }
  std::span<const int64_t> shape(const TensorEntry& tensor) const {
    return {reinterpret_cast<const int64_t*>(bytes_.data() + tensor.shape_offset), tensor.rank};
  }
  std::span<const ParameterEntry> parameters() const { return parameters_; }
  Parameter parameter(const ParameterEntry& entry) const;

 protected:
  bool fits(uint64_t offset, uint64_t length) const {
    return offset <= bytes_.size() && length <= bytes_.size() - offset;
  }
  bool check_text(Text text) const { return fits(text.offset, text.length); }
  bool check_tensors(std::span<const TensorEntry> tensors) const;
  bool check_parameters() const;

  std::vector<uint8_t> bytes_;  // malloc'ed storage is 16-byte aligned, which int64 shapes need
  std::span<const ParameterEntry> parameters_;
};

class RequestView : public TableView {
 public:
  base::Status parse(std::span<const uint8_t> shared);
  const RequestHeader& header() const { return header_; }
  std::span<const TensorEntry> inputs() const { return inputs_; }
  std::span<const OutputEntry> outputs() const { return outputs_; }
  std::string_view request_id() const { return text(header_.request_id); }
  std::string_view correlation_text() const { return text(header_.correlation_text); }

 private:
  RequestHeader header_;
  std::span<const TensorEntry> inputs_;
  std::span<const OutputEntry> outputs_;
};

// The correlation id of a request's table, without believing the rest of it. What does not fit is no correlation id.
void read_correlation(std::span<const uint8_t> shared, uint64_t* id, std::string* text);
// Likewise its key in the response cache; 0, 0 where there is none.
void read_cache_key(std::span<const uint8_t> shared, uint64_t key[2]);
// Likewise its parent; 0 where there is none.
uint64_t read_parent(std::span<const uint8_t> shared);

class ResponseView : public TableView {
 public:
  base::Status parse(std::span<const uint8_t> shared);
  std::span<const TensorEntry> outputs() const { return outputs_; }
  std::string_view message() const { return text(header_.message); }

 private:
  ResponseHeader header_;
  std::span<const TensorEntry> outputs_;
};

}  // namespace pyserver::shm
