// What decoding a request leaves and encoding its response needs, whichever protocol brought it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/checks.h"
#include "shm/allocator.h"
#include "shm/region.h"
#include "shm/table.h"

namespace pyserver::protocol {

// Our own region, in which tensors are built that do not arrive as their bytes.
struct OwnMemory {
  uint32_t peer = 0;
  const shm::Mapping* mapping = nullptr;
  shm::Allocator* allocator = nullptr;
};

// How one requested output is to be sent.
struct OutputWish {
  std::string name;
  bool binary = false;
  uint32_t classification = 0;  // 0: no
};

struct DecodedRequest {
  shm::RequestBuilder table;  // everything but finish() is done
  // Allocated by decode() in our region; the gateway frees them with the request (also when decode() refuses).
  std::vector<uint64_t> blocks;
  std::vector<OutputWish> wishes;  // empty: all outputs, with `binary_default`
  bool binary_default = false;
  std::string request_id;
  uint32_t batch_size = 1;
  uint8_t flags = 0;  // shm::kSequenceStart, kSequenceEnd
  uint64_t signature = 0;
  uint64_t timeout_us = 0;
  uint64_t priority = 0;
  uint64_t payload_bytes = 0;
  // Makes it as new, keeping its storage; `blocks` are forgotten, not freed. Must be called before it is decoded into again.
  void clear();
  // The same without touching `blocks`.
  void clear_content();
};

// Finds the bytes of a tensor of a response: checked against its region; nullopt when the place is no longer there or out of
// range.
using FindBytes = std::function<std::optional<std::span<const uint8_t>>(const shm::TensorEntry&)>;

// A draft that passed model::check() as the request's table. Flags, priority and time-out are taken from `request`.
void fill_table(const model::RequestDraft& draft, DecodedRequest* request);

// The table's last step, once everything is in it: its key in the response cache, where the model's answers are kept there.
std::span<const uint8_t> finish_table(const model::ModelSpec& model, const OwnMemory& memory,
                                      shm::RequestBuilder* table);

}  // namespace pyserver::protocol
