// Ensembles of models X -> Y whose instances are played by the test.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "engine/harness.h"

namespace pyserver::engine {

inline constexpr uint32_t kEnsemble = 100;

class EnsembleTest : public EngineTest {
 protected:
  // A model X -> Y (FP32, any length, no batches) under the handle, which is in its name too.
  std::unique_ptr<FakePeer> member(uint32_t handle, bool decoupled = false) {
    add_model(handle, "direct");
    announce("m" + std::to_string(handle), handle, R"([{"name":"X","datatype":"FP32","dims":[-1]},
        {"name":"W","datatype":"FP32","dims":[-1],"optional":true}])",
             R"([{"name":"Y","datatype":"FP32","dims":[-1]}])", decoupled);
    auto instance = join(PeerKind::kInstance);
    EXPECT_TRUE(engine_->add_instance(handle, instance->id, 1).ok());
    return instance;
  }

  void announce(const std::string& name, uint32_t handle, const std::string& inputs,
                const std::string& outputs, bool decoupled) {
    const std::string text =
        R"({"op":"model","name":")" + name +
        R"(","versions":[{"version":1,"state":"READY","handle":)" + std::to_string(handle) +
        R"(,"spec":{"max_batch_size":0,"decoupled":)" + (decoupled ? "true" : "false") +
        R"(,"inputs":)" + inputs + R"(,"outputs":)" + outputs + R"(,"sequence":null}}]})";
    ASSERT_TRUE(engine_->announce(text).ok());
  }

  // Tensor 0 is the input IN, the last `outputs` are outputs and named O0, O1, ...
  void add_ensemble(uint32_t handle, size_t tensors, size_t outputs,
                    std::vector<EnsembleStep> steps, bool decoupled = false,
                    uint64_t max_inflight = 0, uint64_t max_queued = 100) {
    ModelSettings settings;
    settings.max_queued_requests = max_queued;
    settings.name = "e" + std::to_string(handle);
    settings.ensemble.emplace();
    settings.ensemble->tensors.push_back("IN");
    settings.ensemble->max_inflight_requests = max_inflight;
    std::string specs;
    for (size_t tensor = 1; tensor < tensors; ++tensor) {
      const bool output = tensor >= tensors - outputs;
      const std::string name =
          (output ? "O" : "t") + std::to_string(output ? tensor - (tensors - outputs) : tensor);
      settings.ensemble->tensors.push_back(name);
      if (output) {
        specs += (specs.empty() ? "" : ",") + (R"({"name":")" + name) +
                 R"(","datatype":"FP32","dims":[-1]})";
      }
    }
    settings.ensemble->steps = std::move(steps);
    ASSERT_TRUE(engine_->add_model(handle, settings).ok());
    announce(settings.name, handle, R"([{"name":"IN","datatype":"FP32","dims":[-1]}])",
             "[" + specs + "]", decoupled);
  }

  static EnsembleStep step(uint32_t model, uint32_t from, uint32_t to) {
    return {"m" + std::to_string(model), -1, {{"X", from}}, {{"Y", to}}};
  }

  void ask(FakePeer& from, uint64_t ticket, std::vector<std::string> outputs = {},
           uint32_t model = kEnsemble) {
    shm::RequestBuilder builder;
    builder.set_request_id("id");
    const int64_t shape[] = {4};
    builder.add_input("IN", 0, base::Datatype::kFp32, shape,
                      {shm::Place::kRegion, from.id, 512 * 1024, 16});
    for (const std::string& output : outputs) builder.add_output(output, 0);
    const auto table = builder.finish();
    const uint64_t offset = ticket * 1024;
    std::memcpy(from.region.data() + offset, table.data(), table.size());
    shm::Submit record;
    record.model = model;
    record.ticket = ticket;
    record.table_offset = offset;
    record.table_bytes = static_cast<uint32_t>(table.size());
    from.send(record);
  }

  struct Work {
    uint64_t batch = 0;
    uint64_t ticket = 0;
    std::vector<shm::Location> inputs;
  };

  Work take_work(FakePeer& instance) {
    const auto head = instance.expect<shm::BatchHead>(shm::Kind::kBatch);
    const auto execute = instance.expect<shm::Execute>(shm::Kind::kExecute);
    EXPECT_EQ(execute.submitter, shm::kCorePeer);
    shm::RequestView view;
    EXPECT_TRUE(view.parse({core_region_.data() + execute.table_offset, execute.table_bytes}).ok());
    EXPECT_EQ(view.request_id(), "id");
    Work work{head.batch, execute.ticket, {}};
    for (const shm::TensorEntry& entry : view.inputs())
      work.inputs.push_back({entry.place, entry.region, entry.offset, entry.byte_size});
    return work;
  }

  // Answers with Y at `offset` of the instance's region.
  void answer(FakePeer& instance, const Work& work, uint64_t offset, uint64_t cookie,
              uint8_t flags = kFinalReleased) {
    shm::ResponseBuilder builder;
    const int64_t shape[] = {4};
    builder.add_output("Y", 0, base::Datatype::kFp32, shape,
                       {shm::Place::kRegion, instance.id, offset, 16});
    write(instance, work, builder, cookie, flags);
    if ((flags & shm::kFinal) != 0) done(instance, work.batch);
  }

  void answer_error(FakePeer& instance, const Work& work, const std::string& text) {
    shm::ResponseBuilder builder;
    builder.set_message(text);
    write(instance, work, builder, 9, kFinalReleased | shm::kError);
    done(instance, work.batch);
  }

  // A response without the output.
  void answer_nothing(FakePeer& instance, const Work& work, uint64_t cookie,
                      uint8_t flags = kFinalReleased) {
    shm::ResponseBuilder builder;
    write(instance, work, builder, cookie, flags);
    if ((flags & shm::kFinal) != 0) done(instance, work.batch);
  }

  // No response at all.
  void answer_empty(FakePeer& instance, const Work& work) {
    shm::Response response;
    response.flags = kFinalReleased | shm::kEmpty;
    response.ticket = work.ticket;
    instance.send(response);
    done(instance, work.batch);
  }

  void write(FakePeer& instance, const Work& work, shm::ResponseBuilder& builder, uint64_t cookie,
             uint8_t flags) {
    const auto table = builder.finish();
    std::memcpy(instance.region.data() + cookie * 1024, table.data(), table.size());
    shm::Response response;
    response.flags = flags;
    response.code = static_cast<uint8_t>(base::Code::kInternal);
    response.ticket = work.ticket;
    response.table_offset = cookie * 1024;
    response.table_bytes = static_cast<uint32_t>(table.size());
    response.cookie = cookie;
    instance.send(response);
  }

  // "id start end" as the reply's parameters say.
  std::string sequence_of(const shm::Reply& reply) {
    shm::ResponseView view;
    EXPECT_TRUE(view.parse({core_region_.data() + reply.table_offset, reply.table_bytes}).ok());
    std::string said;
    for (const shm::ParameterEntry& entry : view.parameters()) {
      const shm::Parameter parameter = view.parameter(entry);
      said += said.empty() ? "" : " ";
      if (const auto* number = std::get_if<int64_t>(&parameter.value)) {
        said += std::to_string(*number);
      } else if (const auto* flag = std::get_if<bool>(&parameter.value)) {
        said += *flag ? "yes" : "no";
      }
    }
    return said;
  }

  std::vector<std::string> outputs_of(const shm::Reply& reply) {
    shm::ResponseView view;
    EXPECT_EQ(reply.owner, shm::kCorePeer);
    EXPECT_TRUE(view.parse({core_region_.data() + reply.table_offset, reply.table_bytes}).ok());
    std::vector<std::string> names;
    for (const shm::TensorEntry& entry : view.outputs()) {
      names.push_back(std::string(view.text(entry.name)) + "@" + std::to_string(entry.region) +
                      "+" + std::to_string(entry.offset));
    }
    return names;
  }

  static std::string at(const char* name, const FakePeer& peer, uint64_t offset) {
    return std::string(name) + "@" + std::to_string(peer.id) + "+" + std::to_string(offset);
  }

  void finish(FakePeer& frontend, uint64_t lease) {
    give_back(frontend, lease);
    turn();
    expect_nothing_left();
    EXPECT_EQ(engine_->counters().live_runs, 0u);
    EXPECT_EQ(engine_->counters().ensemble_copied_bytes, 0u);
    EXPECT_EQ(engine_->counters().violations, 0u);
  }
};

}  // namespace pyserver::engine
