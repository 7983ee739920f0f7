// The inference bodies of HTTP: from bytes in our region to a checked request, and from a response table to bytes. No I/O.
//
// The gateway receives a body straight into its region and calls decode(); what comes back is a request table ready to be
// submitted and the list of further blocks that belong to the request. When the reply is there it calls encode(), and sends what
// comes back with writev.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/spec.h"
#include "protocol/infer_request.h"
#include "shm/table.h"

namespace pyserver::protocol {

struct BodyView {
  uint64_t offset = 0;  // of the (already decompressed) body in our region
  uint64_t byte_size = 0;
  uint64_t capacity =
      0;  // bytes from `offset` on that may be read; 64 beyond the JSON part save a copy of it
  std::optional<std::string_view>
      header_length;             // text of Inference-Header-Content-Length, if it came
  uint64_t max_input_bytes = 0;  // --http-max-input-size; 0: no limit
};

// Decodes and checks the whole request (spec 1.5, 1.6, 1.8). Statuses carry Triton's texts. One decoder per thread: it keeps its
// parser's memory.
class InferDecoder {
 public:
  InferDecoder();
  ~InferDecoder();
  base::Status decode(const model::ModelSpec& model, const BodyView& body, const OwnMemory& memory,
                      DecodedRequest* request);

  // For tests: leaves simdjson out, so that what the two readers make of a text can be compared.
  void read_exactly_only(bool only) { exact_only_ = only; }

 private:
  base::Status read_json(const model::ModelSpec& model, const BodyView& body, uint64_t size,
                         const OwnMemory& memory, DecodedRequest* request);

  struct Parts;
  std::unique_ptr<Parts> parts_;
  bool exact_only_ = false;
};

struct EncodedResponse {
  std::string json;                              // the JSON part
  std::vector<std::span<const uint8_t>> binary;  // straight out of the regions, in order
  uint64_t binary_bytes = 0;
  bool octet_stream = false;  // then Inference-Header-Content-Length = json.size()
  std::deque<std::string>
      kept;  // owns what `binary` refers to and is in no region (classification)
  void clear();
};

// The answer to a request from its one response. Spans in `out` live as long as the regions they lie in, and `out`.
base::Status encode(const model::ModelSpec& model, const DecodedRequest& request,
                    const shm::ResponseView& response, const FindBytes& find, EncodedResponse* out);

// {"error":"..."} with JSON escapes.
std::string error_body(std::string_view message);

}  // namespace pyserver::protocol
