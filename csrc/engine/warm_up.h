// Samples of a config's model_warmup (spec/05 section 5.7) as requests that core makes itself: each is checked once when its model
// is loaded, and sent to one instance at a time, before anybody else's request can reach that instance.
//
//   WarmUp::make (checks) ──> reserve ──> fill ──> Engine::warm_up ──> BatchHead + Execute ──> instance
//                                                       event kWarmedUp <── all answered, execute returned
//
// A sample of batch size N is N requests of one row in one batch, as in Triton; all show the same tensors. Nothing of it passes a
// policy, and nothing of it is counted.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/datatype.h"
#include "base/status.h"
#include "model/spec.h"
#include "shm/table.h"

namespace pyserver::engine {

struct WarmUpInput {
  enum class Data : uint8_t { kZero, kRandom, kGiven };

  std::string name;
  base::Datatype datatype = base::Datatype::kInvalid;
  std::vector<int64_t> dims;  // without the batch dimension
  Data data = Data::kZero;
  std::string given;  // its bytes, when they are given
  // Not one that clients send (control tensors): goes to the instance as it is.
  bool server_made = false;
};

class WarmUp {
 public:
  // Refuses what would be refused of a client's request, with the same texts.
  static base::Status make(std::shared_ptr<const model::ModelSpec> spec, uint32_t requests,
                           std::vector<WarmUpInput> inputs, std::shared_ptr<const WarmUp>* made);

  uint32_t requests() const { return requests_; }
  uint8_t flags() const { return flags_; }
  // Of all tensors, laid out one behind the other.
  uint64_t byte_size() const { return byte_size_; }
  void fill(std::span<uint8_t> tensors) const;
  // The table of request `index`, when the tensors lie at `offset` of core's region.
  std::span<const uint8_t> table(uint32_t index, uint64_t offset,
                                 shm::RequestBuilder* builder) const;

 private:
  struct Placed {
    WarmUpInput input;
    uint16_t index = 0xffff;
    std::vector<int64_t> shape;  // as the backend sees it
    uint64_t offset = 0;
    uint64_t byte_size = 0;
  };

  WarmUp() = default;
  base::Status place(WarmUpInput input);
  base::Status check();

  std::shared_ptr<const model::ModelSpec> spec_;
  uint32_t requests_ = 1;
  uint8_t flags_ = 0;
  uint64_t byte_size_ = 0;
  std::vector<Placed> placed_;
};

// What is known of a warm-up on its way; lives in its batch.
struct WarmUpRun {
  std::vector<std::string> errors;  // each text once
};

}  // namespace pyserver::engine
