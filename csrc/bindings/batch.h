// A batch in Python's hands, and what an instance's batches leave to each other.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/inference_request.h"
#include "instance/executor.h"
#include "instance/gather.h"
#include "instance/ragged.h"
#include "instance/states.h"

namespace pyserver::bindings {

// A place for one output of a batch in the instance's own region.
struct OutputBuffer {
  instance::BufferRef buffer;
  std::vector<uint64_t> row_offsets;  // of BYTES, whose rows differ in size
};

// Storage that goes from batch to batch, and the states of sequences.
struct Workspace {
  instance::Gatherer gatherer;
  instance::States states;
  std::vector<instance::MadeInput> made_inputs;
  instance::Batch batch;
  std::vector<std::shared_ptr<InferenceRequest>> requests;
};

// It belongs to the instance's thread.
class PyBatch {
 public:
  // Takes the batch out of the workspace.
  PyBatch(ContextRef context, std::shared_ptr<Workspace> workspace)
      : batch_(std::move(workspace->batch)),
        context_(std::move(context)),
        workspace_(std::move(workspace)),
        requests_(std::move(workspace_->requests)) {}
  PyBatch(const PyBatch&) = delete;
  PyBatch& operator=(const PyBatch&) = delete;
  ~PyBatch() { done(); }

  uint32_t batch_size() const { return batch_.batch_size; }
  size_t request_count() const { return batch_.requests.size(); }
  const std::vector<std::shared_ptr<InferenceRequest>>& requests();

  // Narrows the batch to its next requests that can be executed together: all, but where their states differ in shape. False when
  // none are left.
  bool next_group();
  // (address, shape)
  pybind11::tuple gather_state(size_t state);
  pybind11::object state_array(size_t state);
  uintptr_t place_state(size_t state, std::vector<int64_t> shape, uint64_t byte_size);
  void put_state(size_t state, const pybind11::array& given);
  void commit_states() { workspace_->states.commit(batch_.requests); }

  // (address, bytes, shape, datatype number), or None when the batch does not have the input.
  pybind11::object gather(const std::string& input, size_t slot, bool ragged);
  pybind11::object gather_array(const std::string& input, size_t slot, bool ragged);
  // (address, shape); `number` is that of the batch input among the model's.
  pybind11::tuple batch_input(size_t number, uint8_t kind, const std::string& source,
                              uint8_t datatype);
  std::vector<std::string> wanted_outputs() const;
  OutputBuffer allocate(uint64_t byte_size) const;
  OutputBuffer encode(const pybind11::array& array) const;
  // outputs: (name, datatype number, shape, OutputBuffer, input whose shape splits it or "").
  void scatter(const pybind11::list& outputs, bool whole);

  // `responses`: what execute() returned, one per request, or None where a response sender answers.
  // Both lists are emptied, so that what only they kept alive is gone before the requests are
  // released. Raises before anything is sent.
  void answer(const pybind11::list& given_requests, const pybind11::list& responses);
  // Gives back those that the model wants once more.
  void reschedule();
  // Answers everything that has no final response yet.
  void fail(int code, const std::string& message);
  void mark_input_end();
  void mark_output_start();
  void done();

 private:
  // A state is split among the requests of a batch by its first dimension.
  void check_state_rows(size_t state, const std::vector<int64_t>& shape) const;
  instance::Gathered gather_native(const std::string& input, size_t slot, bool ragged);
  void check_responses(const pybind11::list& responses) const;

  instance::Batch batch_;
  ContextRef context_;
  std::shared_ptr<Workspace> workspace_;
  std::vector<std::shared_ptr<InferenceRequest>> requests_;
  bool done_ = false;
  // Of a model with implicit state: the requests of groups to come.
  bool grouped_ = false;
  std::vector<instance::RequestRef> all_;
  std::vector<uint32_t> groups_;
  size_t next_ = 0;
};

void bind_batch(pybind11::module_& module);

}  // namespace pyserver::bindings
