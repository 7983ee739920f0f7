// Which models a frontend may serve: filled by core's announcements, asked once per request.
//
// Thread safety: none; a catalog belongs to one loop. A ModelSpec that was handed out stays valid for its holder
// after the model is gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "model/spec.h"

namespace pyserver::model {

class Catalog {
 public:
  // Takes one announcement {"op":"model","name":...,"versions":[...]}, which replaces what was known of that model.
  // "shown" is what clients call it, where that is not the name; "namesakes" how many models have
  // the name, with --model-namespacing: if more than one, nobody can be meant.
  // Refused (and nothing changed) when it is not what core sends.
  base::Status apply(std::string_view json);
  void forget(std::string_view name);
  void clear() {
    models_.clear();
    ++epoch_;
  }
  size_t size() const { return models_.size(); }

  // `version_text` empty: the newest version that is ready. Refusals carry Triton's texts: NOT_FOUND for what is unknown,
  // UNAVAILABLE for a version that is not ready, INVALID_ARG for a version that is no number and a
  // name of several.
  base::Status find(std::string_view name, std::string_view version_text,
                    std::shared_ptr<const ModelSpec>* model) const;
  // Whether no version of it serves now, but core will load it for whoever asks (--model-control-mode=on-demand).
  bool loadable(std::string_view name) const;
  // Changes with each announcement: what was found before may be found otherwise.
  uint64_t epoch() const { return epoch_; }

 private:
  struct Version {
    int64_t number = 0;
    bool ready = false;
    std::shared_ptr<const ModelSpec> spec;
  };
  struct Model {
    std::vector<Version> versions;
    size_t newest_ready = SIZE_MAX;  // index in versions
    uint64_t namesakes = 1;
    bool loadable = false;
  };
  struct NameHash {
    using is_transparent = void;  // looked up by string_view, without a copy
    size_t operator()(std::string_view name) const { return std::hash<std::string_view>()(name); }
  };

  std::unordered_map<std::string, Model, NameHash, std::equal_to<>> models_;
  uint64_t epoch_ = 1;
};

// What a version in a path or message means: -1 for the empty text, else a number; 0 is one that no model has.
base::Status parse_version(std::string_view text, int64_t* version);

}  // namespace pyserver::model
