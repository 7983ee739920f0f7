// The JSON part of an inference request, read by either of two parsers.
//
// read_json_fast() (simdjson) accepts what ordinary clients send and nothing that Triton would refuse; whenever it is not sure it
// says so, and read_json_exact() (RapidJSON, which Triton uses) decides and finds Triton's words. Both leave the same draft for the
// same text: tests/fuzz/http_json_fuzz.cc compares them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/checks.h"
#include "protocol/http_infer.h"
#include "protocol/tensor_memory.h"

namespace pyserver::protocol {

inline constexpr size_t kMaxNesting = 100;  // of arrays and objects, the whole document counted

struct JsonSource {
  const char* text = nullptr;
  size_t size = 0;
  size_t capacity = 0;  // bytes that may be read from `text` on
};

// What both parsers work on.
struct JsonTarget {
  const model::ModelSpec& model;
  uint64_t max_input_bytes;  // 0: no limit
  BinarySection binary;
  TensorMemory memory;
  model::RequestDraft* draft;
  DecodedRequest* request;
};

// Keeps simdjson's memory and the strings that a draft refers to.
class FastJsonReader {
 public:
  FastJsonReader();
  ~FastJsonReader();
  // False: ask read_json_exact(), after clearing the draft and the request.
  bool read(const JsonSource& source, JsonTarget* target);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// Keeps the document that a draft refers to until clear().
class ExactJsonReader {
 public:
  ExactJsonReader();
  ~ExactJsonReader();
  base::Status read(const JsonSource& source, JsonTarget* target);
  void clear();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// How many bytes each element of a JSON tensor may take at least: "0," — more elements than that cannot be there.
constexpr bool may_hold(uint64_t text_bytes, int64_t elements) {
  return static_cast<uint64_t>(elements) <= text_bytes / 2 + 1;
}

base::Status json_input_too_large(std::string_view input, uint64_t bytes, uint64_t limit);

}  // namespace pyserver::protocol
