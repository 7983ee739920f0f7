// Reading core's announcements, and finding the version that a request means.
#include "model/catalog.h"

#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

#include <charconv>
#include <optional>
#include <utility>

namespace pyserver::model {

namespace {

namespace dom = simdjson::dom;

base::Status malformed(std::string_view what) {
  return base::internal_error("a catalog entry is malformed: " + std::string(what));
}

bool read_dims(const dom::element& element, std::vector<int64_t>* dims) {
  dom::array array;
  if (element.get(array) != simdjson::SUCCESS) return false;
  for (const dom::element item : array) {
    int64_t dim = 0;
    if (item.get(dim) != simdjson::SUCCESS || dim < -1) return false;
    dims->push_back(dim);
  }
  return true;
}

// An absent member leaves `flag` as it is; one of another type is refused.
bool read_flag(const dom::object& object, std::string_view key, bool* flag) {
  dom::element element;
  if (object[key].get(element) != simdjson::SUCCESS) return true;
  return element.get(*flag) == simdjson::SUCCESS;
}

bool read_labels(const dom::object& object, std::vector<std::string>* labels) {
  dom::element element;
  if (object["labels"].get(element) != simdjson::SUCCESS || element.is_null()) return true;
  dom::array array;
  if (element.get(array) != simdjson::SUCCESS) return false;
  for (const dom::element item : array) {
    std::string_view label;
    if (item.get(label) != simdjson::SUCCESS) return false;
    labels->emplace_back(label);
  }
  return true;
}

size_t wildcards(const std::vector<int64_t>& dims) {
  size_t count = 0;
  for (const int64_t dim : dims) count += dim == -1 ? 1 : 0;
  return count;
}

bool read_tensor(const dom::object& object, TensorSpec* tensor) {
  std::string_view name;
  std::string_view datatype;
  dom::element element;
  if (object["name"].get(name) != simdjson::SUCCESS ||
      object["datatype"].get(datatype) != simdjson::SUCCESS ||
      object["dims"].get(element) != simdjson::SUCCESS || !read_dims(element, &tensor->dims)) {
    return false;
  }
  const std::optional<base::Datatype> known = base::datatype_from_wire(datatype);
  if (!known) return false;
  tensor->name = name;
  tensor->datatype = *known;
  if (object["reshape"].get(element) == simdjson::SUCCESS && !element.is_null()) {
    tensor->reshape.emplace();
    if (!read_dims(element, &*tensor->reshape)) return false;
    if (wildcards(*tensor->reshape) != wildcards(tensor->dims)) return false;
  }
  return read_flag(object, "optional", &tensor->optional) &&
         read_flag(object, "ragged", &tensor->ragged) &&
         read_flag(object, "shape_tensor", &tensor->shape_tensor) &&
         read_labels(object, &tensor->labels);
}

bool read_tensors(const dom::object& spec, std::string_view key, std::vector<TensorSpec>* tensors) {
  dom::array array;
  if (spec[key].get(array) != simdjson::SUCCESS) return false;
  for (const dom::element item : array) {
    dom::object object;
    if (item.get(object) != simdjson::SUCCESS) return false;
    tensors->emplace_back();
    if (!read_tensor(object, &tensors->back())) return false;
  }
  return tensors->size() < 0xffff;  // their indices travel as 16 bits, and 0xffff means none
}

bool read_sequence(const dom::object& spec, ModelSpec* model) {
  dom::element element;
  if (spec["sequence"].get(element) != simdjson::SUCCESS || element.is_null()) return true;
  dom::object sequence;
  if (element.get(sequence) != simdjson::SUCCESS) return false;
  model->sequence = true;
  std::string_view datatype;
  if (sequence["correlation_datatype"].get(datatype) != simdjson::SUCCESS) return true;
  if (datatype == "STRING") datatype = "BYTES";  // the config's word for it
  const std::optional<base::Datatype> known = base::datatype_from_wire(datatype);
  if (known) model->correlation_datatype = *known;
  return known.has_value();
}

bool read_spec(const dom::object& spec, ModelSpec* model) {
  int64_t max_batch_size = 0;
  if (spec["max_batch_size"].get(max_batch_size) != simdjson::SUCCESS || max_batch_size < 0 ||
      max_batch_size > INT32_MAX) {
    return false;
  }
  model->max_batch_size = static_cast<int32_t>(max_batch_size);
  uint64_t seed = 0;
  if (spec["cache_seed"].get(seed) == simdjson::SUCCESS) model->cache_seed = seed;
  return read_flag(spec, "decoupled", &model->decoupled) &&
         read_tensors(spec, "inputs", &model->inputs) &&
         read_tensors(spec, "outputs", &model->outputs) && read_sequence(spec, model);
}

}  // namespace

base::Status Catalog::apply(std::string_view json) {
  dom::parser parser;
  dom::object entry;
  std::string_view name;
  dom::array versions;
  const simdjson::error_code error = parser.parse(json.data(), json.size()).get(entry);
  if (error != simdjson::SUCCESS) return malformed(simdjson::error_message(error));
  if (entry["name"].get(name) != simdjson::SUCCESS ||
      entry["versions"].get(versions) != simdjson::SUCCESS) {
    return malformed("it needs a name and versions");
  }
  Model model;
  std::string_view shown = name;
  if (dom::element element;
      entry["shown"].get(element) == simdjson::SUCCESS && element.get(shown) != simdjson::SUCCESS)
    return malformed("'shown' is a text");
  if (dom::element element; entry["namesakes"].get(element) == simdjson::SUCCESS &&
                            element.get(model.namesakes) != simdjson::SUCCESS)
    return malformed("'namesakes' is a number");
  if (!read_flag(entry, "loadable", &model.loadable)) return malformed("'loadable' is a flag");
  for (const dom::element item : versions) {
    dom::object object;
    Version version;
    std::string_view state;
    uint64_t handle = 0;
    if (item.get(object) != simdjson::SUCCESS ||
        object["version"].get(version.number) != simdjson::SUCCESS || version.number <= 0 ||
        object["state"].get(state) != simdjson::SUCCESS ||
        object["handle"].get(handle) != simdjson::SUCCESS || handle > UINT32_MAX) {
      return malformed("a version of '" + std::string(name) + "' needs version, handle and state");
    }
    version.ready = state == "READY";
    if (version.ready) {
      auto spec = std::make_shared<ModelSpec>();
      spec->name = shown;
      spec->version = version.number;
      spec->version_text = std::to_string(version.number);
      spec->handle = static_cast<uint32_t>(handle);
      dom::object members;
      if (object["spec"].get(members) != simdjson::SUCCESS || !read_spec(members, spec.get())) {
        return malformed("the spec of '" + std::string(name) + "' version " + spec->version_text);
      }
      version.spec = std::move(spec);
    }
    model.versions.push_back(std::move(version));
    const size_t last = model.versions.size() - 1;
    if (model.versions[last].ready &&
        (model.newest_ready == SIZE_MAX ||
         model.versions[last].number > model.versions[model.newest_ready].number)) {
      model.newest_ready = last;
    }
  }
  models_.insert_or_assign(std::string(name), std::move(model));
  ++epoch_;
  return {};
}

void Catalog::forget(std::string_view name) {
  const auto found = models_.find(name);
  if (found == models_.end()) return;
  models_.erase(found);
  ++epoch_;
}

bool Catalog::loadable(std::string_view name) const {
  const auto found = models_.find(name);
  return found != models_.end() && found->second.loadable && found->second.newest_ready == SIZE_MAX;
}

base::Status Catalog::find(std::string_view name, std::string_view version_text,
                           std::shared_ptr<const ModelSpec>* model) const {
  int64_t wanted = -1;
  base::Status status = parse_version(version_text, &wanted);
  if (!status.ok()) return status;
  const auto refusal = [&](const std::string& rest) {
    return "Request for unknown model: '" + std::string(name) + "' " + rest;
  };
  const auto found = models_.find(name);
  if (found == models_.end()) return base::not_found(refusal("is not found"));
  const Model& known = found->second;
  if (known.namesakes > 1) {
    return base::invalid_argument(
        "There are " + std::to_string(known.namesakes) + " identifiers of model '" +
        std::string(name) +
        "' in global map, model namespace must be provided to resolve ambiguity.");
  }
  if (wanted == -1) {
    if (known.newest_ready == SIZE_MAX)
      return base::not_found(refusal("has no available versions"));
    *model = known.versions[known.newest_ready].spec;
    return {};
  }
  for (const Version& version : known.versions) {
    if (version.number != wanted) continue;
    if (!version.ready) {
      return base::unavailable(
          refusal("version " + std::to_string(wanted) + " is not at ready state"));
    }
    *model = version.spec;
    return {};
  }
  return base::not_found(refusal("version " + std::to_string(wanted) + " is not found"));
}

base::Status parse_version(std::string_view text, int64_t* version) {
  *version = -1;
  if (text.empty()) return {};
  // As C's strtol reads it: blanks before the number and anything after it are passed over.
  std::string_view digits = text;
  while (!digits.empty() &&
         (digits.front() == ' ' || (digits.front() >= '\t' && digits.front() <= '\r'))) {
    digits.remove_prefix(1);
  }
  if (digits.size() > 1 && digits[0] == '+' && digits[1] != '-') digits.remove_prefix(1);
  int64_t parsed = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), parsed);
  if (error != std::errc()) {
    return base::invalid_argument("failed to get model version from specified version string '" +
                                  std::string(text) +
                                  "' (details: stol), version should be an integral value > 0");
  }
  if (parsed < 0) {
    return base::invalid_argument("invalid model version specified '" + std::string(text) +
                                  "' , version should be an integral value > 0");
  }
  *version = parsed;
  return {};
}

}  // namespace pyserver::model
