// One output of a response as its client is to see it, whichever protocol takes it there.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/datatype.h"
#include "base/status.h"
#include "model/spec.h"
#include "protocol/classification.h"
#include "protocol/infer_request.h"
#include "shm/table.h"

namespace pyserver::protocol {

struct ResponseOutput {
  std::string_view name;
  const model::TensorSpec* spec = nullptr;  // null: not in the model's config
  base::Datatype datatype = base::Datatype::kInvalid;
  std::span<const int64_t> shape;  // as the config promises it: a reshape is undone
  std::span<const uint8_t> bytes;  // where they lie
};

// `dims` keeps the shape where a reshape had to be undone. Refused when the bytes are no longer there.
base::Status read_output(const model::ModelSpec& model, const shm::ResponseView& response,
                         const shm::TensorEntry& entry, const FindBytes& find,
                         std::vector<int64_t>* dims, ResponseOutput* output);

// Null when the client did not ask for `name`. A walk that begins at `hint`: outputs mostly come in the order of the wishes.
const OutputWish* find_wish(std::span<const OutputWish> wishes, std::string_view name, size_t hint);

base::Status classify_output(const model::ModelSpec& model, const ResponseOutput& output,
                             uint32_t classes, Classification* result);

// The texts as the bytes of a BYTES tensor.
void append_texts(const Classification& result, std::string* bytes);

}  // namespace pyserver::protocol
