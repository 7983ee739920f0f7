// Ensembles: models without instances, whose requests become requests to other models, each as soon as its tensors are there.
//
//   request of E ──> Run ──(a step has all its inputs)──> Request to the step's model ──> policy, instance ...
//                     ^                                          │ response: names of tensors, and where they lie
//                     └──────────────── values of E's tensors <──┘
//
// Tensors are never copied and never read here: a value is a place in the region of whoever made it, and a Source says whose memory
// that is. It is given back when the last table that names it is gone. Tables of steps and answers lie in core's own region.
//
// A decoupled step answers many times: each answer opens a Scope, in which the steps behind it run once. Steps before it run in the
// root scope. The configuration keeps a tensor from depending on two decoupled steps, so scopes never nest.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/datatype.h"
#include "model/spec.h"
#include "shm/table.h"

namespace pyserver::engine {

class Engine;
struct Request;

struct EnsembleStep {
  std::string model;
  int64_t version = -1;  // -1: the newest that is ready
  std::vector<std::pair<std::string, uint32_t>>
      inputs;  // the model's name for it, index in tensors
  std::vector<std::pair<std::string, uint32_t>> outputs;  // likewise
};

struct EnsemblePlan {
  std::vector<std::string> tensors;
  std::vector<EnsembleStep> steps;
  uint64_t max_inflight_requests =
      0;  // of one step, over all requests of the ensemble; 0: no limit
};

// What a model needs besides, when it is an ensemble.
struct Ensemble {
  EnsemblePlan plan;
  std::vector<uint64_t> inflight;  // by step
  std::deque<uint64_t> waiting;  // tickets of requests that have a step for which there is no room
};

// Memory of somebody's that somebody still reads; given back when the last reference goes.
struct Source {
  enum class Kind : uint8_t { kResponse, kRequest, kCached, kOwn };
  Source(Engine* engine, Kind kind, uint32_t peer, uint64_t number)
      : engine(engine), kind(kind), peer(peer), number(number) {}
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  ~Source();

  Engine* engine;
  Kind kind;
  uint32_t peer;  // of a response: who made it
  // Of a response: its cookie; of a request: its ticket; of a cached response: its address; of core's own memory: the offset.
  uint64_t number;
  std::vector<std::shared_ptr<Source>>
      under;  // what the response refers to and is not its maker's own
};
using SourceRef = std::shared_ptr<Source>;

// A response's parameters may give the steps behind it other sequence data than the request's.
struct SequenceOverride {
  std::optional<uint64_t> id;
  std::optional<std::string> text;
  std::optional<bool> start;
  std::optional<bool> end;
};

struct Value {
  enum class State : uint8_t { kPending, kAbsent, kSet } state = State::kPending;
  base::Datatype datatype = base::Datatype::kInvalid;
  std::vector<int64_t> shape;
  shm::Location location;
  SourceRef source;
  std::shared_ptr<const SequenceOverride> sequence;
};

struct Scope {
  std::vector<Value> values;  // by tensor
  std::vector<bool> started;  // by step
  bool answered = false;
};

struct OpenStep {
  uint64_t ticket = 0;  // of the step's request
  uint32_t step = 0;
  uint32_t scope = 0;
};

// One request of an ensemble, from its arrival to its final answer.
struct Run {
  Request* request = nullptr;
  SourceRef memory;  // the request's, so that it outlives the run
  shm::RequestView table;
  std::shared_ptr<const model::ModelSpec> spec;  // of the ensemble
  std::vector<std::shared_ptr<const model::ModelSpec>>
      models;                        // by step; none: the step is not needed
  std::vector<bool> wanted;          // by tensor: an output that was asked for
  std::vector<bool> needed;          // by tensor
  std::vector<bool> repeated_steps;  // by step: once in each scope but the root
  std::vector<bool> repeated;        // by tensor: has a value in each scope but the root
  bool repeats = false;              // a wanted output is one of them
  std::deque<Scope> scopes;          // [0] is the root
  std::vector<OpenStep> open;
  bool busy = false;   // somebody up the stack advances it
  bool again = false;  // and is to do so once more
  bool failed = false;
  bool answered = false;  // has sent its response
  bool waits = false;     // is in Ensemble::waiting
  uint8_t code = 0;
  std::string message;
  uint64_t queue_ns = 0;  // of its steps
  uint64_t compute_ns = 0;
};

}  // namespace pyserver::engine
