// Which sequence a step belongs to: that of the ensemble's request, but for what the responses of steps before it have said.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "shm/table.h"

namespace pyserver::engine {

// A response's parameters may give the steps behind it other sequence data than the request's.
struct SequenceOverride {
  std::optional<uint64_t> id;
  std::optional<std::string> text;
  std::optional<bool> start;
  std::optional<bool> end;
};
using SequenceRef = std::shared_ptr<const SequenceOverride>;  // nullptr: nothing else was said

// What the parameters sequence_id, sequence_start and sequence_end say.
SequenceRef sequence_of(const shm::ResponseView& view);
// What both say; where they differ, what `later` says.
SequenceRef combine(const SequenceRef& earlier, const SequenceRef& later);

struct StepSequence {
  uint64_t id = 0;
  std::string text;
  uint32_t flags = 0;
};
// The sequence of the ensemble's request, and what has been said instead.
StepSequence sequence_for(const shm::RequestView& request, const SequenceRef& given);

}  // namespace pyserver::engine
