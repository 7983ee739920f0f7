// InferParameter and the maps of it.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/status.h"

namespace pyserver::protocol::grpc {

enum class ParameterKind : uint8_t { kUnset, kBool, kInt, kString, kDouble, kUint };

struct ParameterValue {
  ParameterKind kind = ParameterKind::kUnset;
  uint64_t bits = 0;      // of all but strings
  std::string_view text;  // of a string

  int64_t integer() const { return static_cast<int64_t>(bits); }
  bool flag() const { return bits != 0; }
};

struct ParameterEntry {
  std::string_view key;
  ParameterValue value;
};

// An entry of a map<string, InferParameter>. False when it is malformed.
bool read_parameter_entry(std::string_view message, ParameterEntry* entry);

// Whether a string field may be what it is: Google's parser refuses a message whose strings are no UTF-8.
bool is_utf8(std::string_view text);

// The shared-memory keys in the parameters of an input or a requested output.
class SharedMemoryParameters {
 public:
  // Notes an entry that is one of them; of equal keys the last one counts, as in any map.
  void note(const ParameterEntry& entry);
  // Refuses what is inconsistent, in Triton's words.
  base::Status check(std::string_view tensor) const;
  bool used() const { return region_.given; }
  std::string_view region() const { return region_.value.text; }

 private:
  struct Member {
    bool given = false;
    ParameterValue value;
  };
  base::Status check_number(std::string_view key, const Member& member,
                            std::string_view tensor) const;

  Member region_;
  Member offset_;
  Member byte_size_;
};

}  // namespace pyserver::protocol::grpc
