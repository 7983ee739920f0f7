// Feeding a request's parts to XXH3.
#include "shm/cache_key.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <string_view>
#include <type_traits>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace pyserver::shm {

namespace {

class Hash {
 public:
  explicit Hash(uint64_t seed) { XXH3_128bits_reset_withSeed(&state_, seed); }

  template <typename T>
  void number(T value) {
    static_assert(std::is_integral_v<T>);
    XXH3_128bits_update(&state_, &value, sizeof value);
  }
  void bytes(std::span<const uint8_t> bytes) {
    number(uint64_t{bytes.size()});
    if (!bytes.empty()) XXH3_128bits_update(&state_, bytes.data(), bytes.size());
  }
  void text(std::string_view text) {
    bytes({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }
  XXH128_hash_t digest() const { return XXH3_128bits_digest(&state_); }

 private:
  XXH3_state_t state_{};
};

void hash_parameter(const RequestBuilder& table, const ParameterEntry& entry, Hash* hash) {
  hash->text(table.text(entry.key));
  hash->number(static_cast<uint8_t>(entry.type));
  if (entry.type == ParameterType::kString) {
    hash->text(table.text(std::bit_cast<Text>(entry.bits)));
  } else {
    hash->number(entry.bits);
  }
}

}  // namespace

void set_cache_key(uint64_t seed, const BytesOfTensor& bytes_of, RequestBuilder* table) {
  Hash hash(seed);
  const std::span<const TensorEntry> inputs = table->inputs();
  std::vector<const TensorEntry*> ordered;
  ordered.reserve(inputs.size());
  for (const TensorEntry& input : inputs) ordered.push_back(&input);
  std::sort(ordered.begin(), ordered.end(), [](const TensorEntry* one, const TensorEntry* other) {
    return one->index < other->index;
  });
  hash.number(uint64_t{ordered.size()});
  for (const TensorEntry* input : ordered) {
    hash.text(table->text(input->name));
    hash.number(static_cast<uint8_t>(input->datatype));
    hash.number(input->rank);
    for (const int64_t dim : table->shape(*input)) hash.number(dim);
    hash.bytes(bytes_of(*input));
  }
  // None is not the same as all by name: whoever asks for none gets what the model gives.
  hash.number(uint64_t{table->outputs().size()});
  for (const OutputEntry& output : table->outputs()) hash.text(table->text(output.name));
  hash.number(uint64_t{table->parameters().size()});
  for (const ParameterEntry& entry : table->parameters()) hash_parameter(*table, entry, &hash);
  hash.number(table->header.flags);
  hash.number(table->header.correlation_id);
  hash.text(table->correlation_text());
  const XXH128_hash_t key = hash.digest();
  table->header.cache_key[0] = key.low64;
  // 0, 0 means that there is no key.
  table->header.cache_key[1] = key.low64 == 0 && key.high64 == 0 ? 1 : key.high64;
}

}  // namespace pyserver::shm
