// The key under which a request's answer is kept in the response cache (spec/05 section 5.6): 128 bits over everything that may change
// the answer.
//
// Each part is hashed with its length before it, so that no two different requests are the same bytes to the hash. What a client says
// for itself (request id, priority, time-out) is left out; inputs count in the order of the model's config.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "shm/table.h"

namespace pyserver::shm {

// Where the bytes of a tensor are. Called for each input, once.
using BytesOfTensor = std::function<std::span<const uint8_t>(const TensorEntry&)>;

// Sets table->header.cache_key; before finish(). `seed` is the same for everybody who shares a cache, and nobody else's, so that equal
// keys cannot be prepared.
void set_cache_key(uint64_t seed, const BytesOfTensor& bytes_of, RequestBuilder* table);

}  // namespace pyserver::shm
