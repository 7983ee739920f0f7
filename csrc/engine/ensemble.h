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
// root scope. The configuration keeps a tensor from depending on two decoupled steps, so scopes never nest. A scope keeps the answer's
// memory until it is over, which holds up a decoupled step that answers faster than those behind it take (instance::Link::crowded).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/datatype.h"
#include "engine/ensemble_sequence.h"
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
  std::string name;  // in the catalog, where that is not the one that clients know
  std::vector<std::string> tensors;
  std::vector<EnsembleStep> steps;
  uint64_t max_inflight_requests =
      0;  // of one step, over all requests of the ensemble; 0: no limit
};

// A step that may run, but for max_inflight_requests.
struct WaitingStep {
  uint64_t ticket = 0;  // of the ensemble's request
  uint32_t scope = 0;
};

// What a model needs besides, when it is an ensemble.
struct Ensemble {
  EnsemblePlan plan;
  std::vector<uint64_t> inflight;                // by step
  std::vector<std::deque<WaitingStep>> waiting;  // by step, in the order in which they came
  bool waking = false;                           // somebody up the stack goes through `waiting`
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

struct Value {
  enum class State : uint8_t { kPending, kAbsent, kSet } state = State::kPending;
  base::Datatype datatype = base::Datatype::kInvalid;
  std::vector<int64_t> shape;
  shm::Location location;
  SourceRef source;
  SequenceRef sequence;
};

struct Scope {
  std::vector<Value> values;  // by tensor
  std::vector<bool> started;  // by step; or it waits for room
  uint32_t open = 0;          // steps
  uint32_t waiting = 0;       // steps for which there is no room
  bool answered = false;
};

struct OpenStep {
  uint64_t ticket = 0;  // of the step's request
  uint32_t step = 0;
  uint32_t scope = 0;
  SequenceRef sequence;  // what the step was told, and what is made of its outputs is
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
  std::map<uint32_t, Scope> scopes;  // those that are not over; [0] is the root
  uint32_t next_scope = 1;
  std::deque<uint32_t> changed;  // scopes in which something may go on
  std::vector<OpenStep> open;
  size_t waiting = 0;  // steps, in Ensemble::waiting
  bool busy = false;   // somebody up the stack advances it
  bool failed = false;
  bool answered = false;  // has sent its response
  uint8_t code = 0;
  std::string message;
  uint64_t queue_ns = 0;  // of its steps
  uint64_t compute_ns = 0;
};

}  // namespace pyserver::engine
