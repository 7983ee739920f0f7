// The inference messages of gRPC: from a ModelInferRequest in our region to a checked request, and from a response table to a
// ModelInferResponse or ModelStreamInferResponse. No I/O.
//
// The gateway receives a message straight into its region, asks peek() which model it is for, and calls decode(); raw contents stay
// where they are, and only typed contents are built anew. When a reply is there it calls one of the encode functions and sends the
// spans that come back. The order of a stream's answers is the gateway's.
#pragma once

#include <cstdint>
#include <list>
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

namespace pyserver::protocol::grpc {

// gRPC itself allows no more, in either direction.
inline constexpr uint64_t kMaxMessageBytes = INT32_MAX;

// What the gateway must know before it can decode. The views lie in the message.
struct RequestHead {
  std::string_view model_name;
  std::string_view model_version;
  std::string_view id;
};

// Refused (INTERNAL, "Unable to parse request"; `head` is then empty) when the message's outermost fields are malformed. What is
// inside them is seen by decode().
base::Status peek(std::span<const uint8_t> message, RequestHead* head);

// The same for all that is inside: whether Google's parser takes the message.
base::Status well_formed(std::span<const uint8_t> message);

// The bytes of a ModelInferRequest, without gRPC's prefix, already decompressed.
struct MessageView {
  uint64_t offset = 0;  // in our region
  uint64_t byte_size = 0;
};

struct DecodedRequest : protocol::DecodedRequest {
  bool empty_final_response = false;  // triton_enable_empty_final_response
  // As in the base.
  void clear();
};

// Decodes and checks the whole request (spec 2.3, 2.4, 1.6). Statuses carry Triton's texts. One decoder per thread: it keeps its
// memory.
class InferDecoder {
 public:
  InferDecoder();
  ~InferDecoder();
  base::Status decode(const model::ModelSpec& model, const MessageView& message,
                      const OwnMemory& memory, DecodedRequest* request);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// One message as it goes out: gRPC's prefix of kPrefixBytes, then the message. Whoever compresses it takes the spans without the
// prefix and makes a new one.
struct EncodedMessage {
  std::vector<std::span<const uint8_t>> spans;    // in order; none is empty
  uint64_t byte_size = 0;                         // of all of them, the prefix included
  std::vector<std::span<const uint8_t>> tensors;  // of the outputs in order, empty ones included
  // What `spans` refers to and is in no region. Moving the whole keeps the spans valid.
  std::vector<char> framing;
  std::list<std::string> kept;  // hardly ever any; a deque would allocate for none
  void clear();
};

// A ModelInferResponse from a request's response. Spans in `out` live as long as the regions they lie in, and `out`.
base::Status encode(const model::ModelSpec& model, const protocol::DecodedRequest& request,
                    const shm::ResponseView& response, const FindBytes& find, EncodedMessage* out);

// The same in a ModelStreamInferResponse, with the parameter triton_final_response.
base::Status encode_stream(const model::ModelSpec& model, const protocol::DecodedRequest& request,
                           const shm::ResponseView& response, bool final, const FindBytes& find,
                           EncodedMessage* out);

// A ModelStreamInferResponse without tensors: an error, or the final that carries nothing else. Empty texts are left out.
struct StreamNotice {
  std::string_view error_message;
  std::string_view model_name;
  std::string_view model_version;
  std::string_view id;
  std::optional<bool> final;  // triton_final_response
};

void encode_stream_notice(const StreamNotice& notice, EncodedMessage* out);

}  // namespace pyserver::protocol::grpc
