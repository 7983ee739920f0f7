// A request whose body is the single input of its model (Inference-Header-Content-Length: 0).
#pragma once

#include <cstdint>

#include "base/status.h"
#include "model/checks.h"
#include "protocol/http_infer.h"
#include "protocol/tensor_memory.h"

namespace pyserver::protocol {

// Deduces name, datatype and shape from the model. A BYTES body becomes one element, for which it is copied once behind its prefix.
base::Status read_raw_request(const model::ModelSpec& model, const BodyView& body,
                              TensorMemory* memory, model::RequestDraft* draft);

}  // namespace pyserver::protocol
