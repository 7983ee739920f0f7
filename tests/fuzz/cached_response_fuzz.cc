// A cached response as a Redis that somebody else writes to may give it back: no entry, or one whose every byte is in the region.
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "engine/response_cache.h"
#include "shm/region.h"

using namespace pyserver;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr uint64_t kBytes = 1 << 20;
  base::UniqueFd fd;
  shm::Mapping region;
  if (!shm::make_memfd("fuzz", kBytes, &fd).ok() ||
      !shm::Mapping::map(fd.get(), true, &region).ok())
    std::abort();
  shm::Allocator memory(&region, kBytes, 0);
  {
    engine::ResponseCache cache(&region, &memory, kBytes / 2);
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    if (engine::CachedResponse* const entry = cache.insert_bytes({1, 2, 3}, bytes)) {
      shm::ResponseView view;
      if (!view.parse(cache.table(*entry)).ok()) std::abort();
      for (const shm::TensorEntry& output : view.outputs()) {
        if (!region.contains(output.offset, output.byte_size)) std::abort();
      }
      // What was taken in once is taken in again.
      const std::string again = cache.to_bytes(*entry);
      if (cache.insert_bytes({1, 2, 4}, again) == nullptr) std::abort();
    }
    cache.forget_model(1);
  }
  if (memory.used_bytes() != 0) std::abort();
  return 0;
}
