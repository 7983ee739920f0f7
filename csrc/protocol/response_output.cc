// Finding an output's bytes, its shape for the client, and who asked for it.
#include "protocol/response_output.h"

#include <optional>

#include "model/shapes.h"

namespace pyserver::protocol {

base::Status read_output(const model::ModelSpec& model, const shm::ResponseView& response,
                         const shm::TensorEntry& entry, const FindBytes& find,
                         std::vector<int64_t>* dims, ResponseOutput* output) {
  output->name = response.text(entry.name);
  output->spec = entry.index < model.outputs.size() ? &model.outputs[entry.index] : nullptr;
  output->datatype = entry.datatype;
  output->shape = response.shape(entry);
  if (output->spec != nullptr && output->spec->reshape &&
      model::undo_reshape(*output->spec, model.max_batch_size > 0, output->shape, dims)) {
    output->shape = *dims;
  }
  output->bytes = {};
  if (entry.byte_size == 0) return {};
  const std::optional<std::span<const uint8_t>> found = find(entry);
  if (!found) {
    return base::internal_error("the bytes of output '" + std::string(output->name) +
                                "' of model '" + model.name + "' are no longer there");
  }
  output->bytes = *found;
  return {};
}

const OutputWish* find_wish(std::span<const OutputWish> wishes, std::string_view name,
                            size_t hint) {
  size_t index = hint < wishes.size() ? hint : 0;
  for (size_t step = 0; step < wishes.size(); ++step) {
    if (wishes[index].name == name) return &wishes[index];
    if (++index == wishes.size()) index = 0;
  }
  return nullptr;
}

base::Status classify_output(const model::ModelSpec& model, const ResponseOutput& output,
                             uint32_t classes, Classification* result) {
  return classify(output.spec, output.name, output.datatype, model.max_batch_size > 0, output.shape,
                  output.bytes, classes, result);
}

void append_texts(const Classification& result, std::string* bytes) {
  for (const std::string& text : result.texts) {
    const auto length = static_cast<uint32_t>(text.size());
    bytes->append(reinterpret_cast<const char*>(&length), sizeof length);
    *bytes += text;
  }
}

}  // namespace pyserver::protocol
