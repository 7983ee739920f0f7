// Reading and combining what responses say of sequences.
#include "engine/ensemble_sequence.h"

#include <utility>
#include <variant>

#include "shm/layout.h"

namespace pyserver::engine {

namespace {

void set_flag(uint32_t flag, bool on, uint32_t* flags) {
  *flags = on ? *flags | flag : *flags & ~flag;
}

}  // namespace

SequenceRef sequence_of(const shm::ResponseView& view) {
  SequenceOverride made;
  bool any = false;
  for (const shm::ParameterEntry& entry : view.parameters()) {
    const shm::Parameter parameter = view.parameter(entry);
    const auto* number = std::get_if<int64_t>(&parameter.value);
    const auto* text = std::get_if<std::string>(&parameter.value);
    const auto* flag = std::get_if<bool>(&parameter.value);
    if (parameter.key == "sequence_id" && number != nullptr) {
      made.id = static_cast<uint64_t>(*number);
    } else if (parameter.key == "sequence_id" && text != nullptr) {
      made.text = *text;
    } else if (parameter.key == "sequence_start" && flag != nullptr) {
      made.start = *flag;
    } else if (parameter.key == "sequence_end" && flag != nullptr) {
      made.end = *flag;
    } else {
      continue;
    }
    any = true;
  }
  return any ? std::make_shared<const SequenceOverride>(std::move(made)) : nullptr;
}

SequenceRef combine(const SequenceRef& earlier, const SequenceRef& later) {
  if (earlier == nullptr || earlier == later) return later;
  if (later == nullptr) return earlier;
  SequenceOverride made = *earlier;
  if (later->id || later->text) {
    made.id = later->id;
    made.text = later->text;
  }
  if (later->start) made.start = later->start;
  if (later->end) made.end = later->end;
  return std::make_shared<const SequenceOverride>(std::move(made));
}

StepSequence sequence_for(const shm::RequestView& request, const SequenceRef& given) {
  const shm::RequestHeader& header = request.header();
  StepSequence made{header.correlation_id, std::string(request.correlation_text()), header.flags};
  if (given == nullptr) return made;
  if (given->id) made.id = *given->id, made.text.clear();
  if (given->text) made.text = *given->text, made.id = 0;
  if (given->start) set_flag(shm::kSequenceStart, *given->start, &made.flags);
  if (given->end) set_flag(shm::kSequenceEnd, *given->end, &made.flags);
  return made;
}

}  // namespace pyserver::engine
