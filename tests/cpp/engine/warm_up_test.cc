// Warm-up: a sample reaches the one instance it is for, is over when all is answered, and leaves nothing behind.
#include "engine/warm_up.h"

#include "engine/harness.h"

#include <vector>

namespace pyserver::engine {
namespace {

using Data = WarmUpInput::Data;

std::shared_ptr<const model::ModelSpec> spec_of(int32_t max_batch_size, bool sequence = false) {
  auto spec = std::make_shared<model::ModelSpec>();
  spec->name = "model";
  spec->max_batch_size = max_batch_size;
  spec->sequence = sequence;
  model::TensorSpec input;
  input.name = "X";
  input.datatype = base::Datatype::kInt32;
  input.dims = {-1};
  spec->inputs = {input};
  return spec;
}

WarmUpInput numbers(Data data = Data::kZero, std::string given = {}) {
  WarmUpInput input;
  input.name = "X";
  input.datatype = base::Datatype::kInt32;
  input.dims = {2};
  input.data = data;
  input.given = std::move(given);
  return input;
}

WarmUpInput control() {
  WarmUpInput input;
  input.name = "START";
  input.datatype = base::Datatype::kInt32;
  input.dims = {1};
  input.server_made = true;
  return input;
}

std::shared_ptr<const WarmUp> sample_of(std::vector<WarmUpInput> inputs, uint32_t requests = 1,
                                        std::shared_ptr<const model::ModelSpec> spec = spec_of(8)) {
  std::shared_ptr<const WarmUp> made;
  const base::Status status = WarmUp::make(std::move(spec), requests, std::move(inputs), &made);
  EXPECT_TRUE(status.ok()) << status.message();
  return made;
}

base::Status refusal_of(WarmUpInput input) {
  std::shared_ptr<const WarmUp> made;
  base::Status status = WarmUp::make(spec_of(8), 1, {std::move(input)}, &made);
  EXPECT_EQ(made, nullptr);
  return status;
}

class WarmUpTest : public EngineTest {
 protected:
  WarmUpTest() : instance_(join(PeerKind::kInstance)) {}

  base::Status warm_up(const WarmUp& sample) {
    SourceRef memory;
    std::span<uint8_t> tensors;
    base::Status status = engine_->reserve(sample.byte_size(), &memory, &tensors);
    if (!status.ok()) return status;
    sample.fill(tensors);
    status = engine_->warm_up(1, instance_->id, sample, memory, now_ns_);
    engine_->flush();
    return status;
  }

  // Takes the batch of `count` requests.
  std::vector<shm::Execute> expect_batch(uint32_t count) {
    head_ = instance_->expect<shm::BatchHead>(shm::Kind::kBatch);
    EXPECT_EQ(head_.request_count, count);
    EXPECT_EQ(head_.batch_size, count);
    std::vector<shm::Execute> requests;
    for (uint32_t index = 0; index < count; ++index)
      requests.push_back(instance_->expect<shm::Execute>(shm::Kind::kExecute));
    return requests;
  }

  shm::RequestView view(const shm::Execute& request) {
    EXPECT_EQ(request.submitter, shm::kCorePeer);
    shm::RequestView made;
    EXPECT_TRUE(made.parse({core_region_.data() + request.table_offset, request.table_bytes}).ok());
    return made;
  }

  template <typename T>
  std::vector<T> values(const shm::TensorEntry& entry) {
    EXPECT_EQ(entry.region, shm::kCorePeer);
    std::vector<T> made(entry.byte_size / sizeof(T));
    std::memcpy(made.data(), core_region_.data() + entry.offset, entry.byte_size);
    return made;
  }

  void fail(uint64_t ticket, const std::string& text) {
    shm::ResponseBuilder builder;
    builder.set_message(text);
    const auto table = builder.finish();
    std::memcpy(instance_->region.data(), table.data(), table.size());
    shm::Response response;
    response.flags = kFinalReleased | shm::kError;
    response.code = static_cast<uint8_t>(base::Code::kInternal);
    response.ticket = ticket;
    response.table_bytes = static_cast<uint32_t>(table.size());
    instance_->send(response);
  }

  // What is told of the sample's end; nothing when it is not over.
  std::optional<std::string> outcome() {
    std::optional<std::string> found;
    for (const Event& event : engine_->take_events()) {
      if (event.kind != Event::Kind::kWarmedUp) continue;
      EXPECT_EQ(event.id, instance_->id);
      EXPECT_FALSE(found.has_value()) << "told twice";
      found = event.message;
    }
    return found;
  }

  void expect_uncounted() {
    const ModelStatistics& figures = engine_->find_model(1)->statistics;
    EXPECT_EQ(figures.execution_count, 0u);
    EXPECT_EQ(figures.inference_count, 0u);
    EXPECT_EQ(figures.success.count, 0u);
    EXPECT_EQ(figures.fail.count, 0u);
    EXPECT_EQ(figures.queue.count, 0u);
    EXPECT_EQ(figures.last_inference_ms, 0u);
    EXPECT_TRUE(figures.batches.empty());
    EXPECT_EQ(engine_->find_model(1)->execution_ns, 0u);
    EXPECT_EQ(engine_->find_model(1)->running, 0u);
  }

  const std::unique_ptr<FakePeer> instance_;
  shm::BatchHead head_;
};

TEST_F(WarmUpTest, ASampleReachesItsInstanceAndNobodyElse) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto other = join(PeerKind::kInstance);
  add_model(1, "dynamic", {.max_batch_size = 8});
  submit(*frontend, 1);
  turn();
  const int32_t given[] = {5, 6};
  const std::string bytes(reinterpret_cast<const char*>(given), sizeof given);
  ASSERT_TRUE(warm_up(*sample_of({numbers(Data::kGiven, bytes)})).ok());
  turn();
  const std::vector<shm::Execute> requests = expect_batch(1);
  EXPECT_EQ(requests[0].flags, 0);
  const shm::RequestView table = view(requests[0]);
  ASSERT_EQ(table.inputs().size(), 1u);
  EXPECT_EQ(table.text(table.inputs()[0].name), "X");
  EXPECT_EQ(table.inputs()[0].index, 0);
  EXPECT_EQ(table.shape(table.inputs()[0])[0], 1);
  EXPECT_EQ(table.shape(table.inputs()[0])[1], 2);
  EXPECT_EQ(values<int32_t>(table.inputs()[0]), (std::vector<int32_t>{5, 6}));
  EXPECT_FALSE(instance_->take().has_value()) << "the client's request is not for it yet";
  EXPECT_FALSE(other->take().has_value());
  EXPECT_FALSE(outcome());
  respond(*instance_, requests[0].ticket);
  turn();
  EXPECT_FALSE(outcome()) << "execute has not returned";
  EXPECT_EQ(instance_->expect<shm::Returned>(shm::Kind::kReturned).cookie, 5u);
  done(*instance_, head_.batch);
  turn();
  EXPECT_EQ(outcome(), "");
  expect_uncounted();
  EXPECT_EQ(engine_->counters().own_bytes, 0u);
  EXPECT_FALSE(frontend->take().has_value());
  ASSERT_TRUE(engine_->add_instance(1, instance_->id, now_ns_).ok());
  turn();
  EXPECT_EQ(expect_batch(1)[0].submitter, frontend->id);
}

TEST_F(WarmUpTest, ABatchIsRequestsOfOneRowThatShowTheSameTensors) {
  add_model(1, "direct", {.max_batch_size = 8});
  ASSERT_TRUE(warm_up(*sample_of({numbers(Data::kRandom)}, 3)).ok());
  const std::vector<shm::Execute> requests = expect_batch(3);
  const uint64_t tensors = view(requests[0]).inputs()[0].offset;
  for (const shm::Execute& request : requests) {
    EXPECT_EQ(request.batch_size, 1u);
    EXPECT_EQ(view(request).inputs()[0].offset, tensors);
  }
  done(*instance_, head_.batch);
  respond(*instance_, requests[2].ticket);
  respond(*instance_, requests[0].ticket);
  turn();
  EXPECT_FALSE(outcome());
  respond(*instance_, requests[1].ticket);
  turn();
  EXPECT_EQ(outcome(), "");
  expect_nothing_left();
  expect_uncounted();
}

TEST_F(WarmUpTest, AllResponsesOfADecoupledModelAreTakenUntilTheLast) {
  add_model(1, "direct");
  ASSERT_TRUE(warm_up(*sample_of({numbers()}, 1, spec_of(0))).ok());
  const std::vector<shm::Execute> requests = expect_batch(1);
  done(*instance_, head_.batch);
  respond(*instance_, requests[0].ticket, 0, 1);
  respond(*instance_, requests[0].ticket, 0, 2);
  turn();
  EXPECT_EQ(instance_->expect<shm::Returned>(shm::Kind::kReturned).cookie, 1u);
  EXPECT_EQ(instance_->expect<shm::Returned>(shm::Kind::kReturned).cookie, 2u);
  EXPECT_FALSE(outcome());
  respond(*instance_, requests[0].ticket, kFinalReleased | shm::kEmpty);
  turn();
  EXPECT_FALSE(instance_->take().has_value());
  EXPECT_EQ(outcome(), "");
  expect_nothing_left();
}

TEST_F(WarmUpTest, WhatIsStillReadAfterwardsStays) {
  add_model(1, "direct");
  ASSERT_TRUE(warm_up(*sample_of({numbers()})).ok());
  const std::vector<shm::Execute> requests = expect_batch(1);
  respond(*instance_, requests[0].ticket, shm::kFinal);
  done(*instance_, head_.batch);
  turn();
  EXPECT_EQ(outcome(), "");
  EXPECT_GT(engine_->counters().own_bytes, 0u);
  shm::Release release;
  release.ticket = requests[0].ticket;
  instance_->send(release);
  turn();
  expect_nothing_left();
}

TEST_F(WarmUpTest, ErrorsAreToldOnceEach) {
  add_model(1, "direct", {.max_batch_size = 8});
  ASSERT_TRUE(warm_up(*sample_of({numbers()}, 3)).ok());
  const std::vector<shm::Execute> requests = expect_batch(3);
  fail(requests[0].ticket, "no weights");
  turn();
  fail(requests[1].ticket, "no weights");
  turn();
  fail(requests[2].ticket, "no bias");
  done(*instance_, head_.batch);
  turn();
  EXPECT_EQ(outcome(), "no weights; no bias");
  expect_nothing_left();
  expect_uncounted();
}

TEST_F(WarmUpTest, ADeathIsToldAsTheOutcome) {
  add_model(1, "direct", {.max_batch_size = 8});
  ASSERT_TRUE(warm_up(*sample_of({numbers()}, 2)).ok());
  const std::vector<shm::Execute> requests = expect_batch(2);
  respond(*instance_, requests[0].ticket, shm::kFinal);
  turn();
  engine_->retire_peer(instance_->id, "it was killed by signal 9 (SIGKILL)", now_ns_);
  EXPECT_EQ(outcome(), "it was killed by signal 9 (SIGKILL)");
  expect_nothing_left();
  expect_uncounted();
  EXPECT_FALSE(warm_up(*sample_of({numbers()})).ok()) << "there is no such instance";
  expect_nothing_left();
}

TEST_F(WarmUpTest, TheModelsRemovalEndsIt) {
  add_model(1, "direct", {.max_batch_size = 8});
  ASSERT_TRUE(warm_up(*sample_of({numbers()}, 2)).ok());
  expect_batch(2);
  engine_->remove_model(1);
  EXPECT_EQ(outcome(), "the model was removed");
  expect_nothing_left();
  engine_->retire_peer(instance_->id, "gone", now_ns_);
}

TEST_F(WarmUpTest, ARestartedInstanceIsWarmedUpWhileOthersServeInOrder) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto other = join(PeerKind::kInstance);
  add_model(1, "dynamic", {.max_batch_size = 1}, true);
  ASSERT_TRUE(engine_->add_instance(1, other->id, 1).ok());
  submit(*frontend, 1);
  turn();
  ASSERT_TRUE(warm_up(*sample_of({numbers()})).ok());
  const std::vector<shm::Execute> requests = expect_batch(1);
  respond(*instance_, requests[0].ticket);
  done(*instance_, head_.batch);
  turn();
  EXPECT_EQ(outcome(), "") << "though an earlier request has no answer yet";
  const auto head = other->expect<shm::BatchHead>(shm::Kind::kBatch);
  respond(*other, other->expect<shm::Execute>(shm::Kind::kExecute).ticket);
  done(*other, head.batch);
  turn();
  EXPECT_EQ(frontend->expect<shm::Reply>(shm::Kind::kReply).ticket, 1u);
  EXPECT_EQ(engine_->find_model(1)->statistics.success.count, 1u);
}

TEST_F(WarmUpTest, AModelThatGivesTheRequestBackHasRunIt) {
  add_model(1, "sequence_direct", {.max_batch_size = 8, .iterative = true});
  ASSERT_TRUE(warm_up(*sample_of({numbers()}, 1, spec_of(8, true))).ok());
  const std::vector<shm::Execute> requests = expect_batch(1);
  shm::Release release;
  release.ticket = requests[0].ticket;
  release.flags = shm::kReschedule;
  instance_->send(release);
  done(*instance_, head_.batch);
  turn();
  EXPECT_EQ(outcome(), "");
  expect_nothing_left();
}

TEST_F(WarmUpTest, RequestsForASequenceModelAreWholeSequences) {
  add_model(1, "sequence_direct", {.max_batch_size = 8});
  ASSERT_TRUE(warm_up(*sample_of({numbers()}, 2, spec_of(8, true))).ok());
  const std::vector<shm::Execute> requests = expect_batch(2);
  for (uint32_t index = 0; index < 2; ++index) {
    EXPECT_EQ(requests[index].flags, shm::kSequenceStart | shm::kSequenceEnd | shm::kSequenceReady);
    EXPECT_EQ(requests[index].slot, index);
    EXPECT_EQ(view(requests[index]).header().correlation_id, index + 1);
  }
  EXPECT_EQ(engine_->find_model(1)->policy->live_sequences(), 0u);
}

TEST_F(WarmUpTest, ControlTensorsOfTheSampleGoAlong) {
  add_model(1, "sequence_direct", {.max_batch_size = 8});
  ASSERT_TRUE(warm_up(*sample_of({numbers(), control()}, 1, spec_of(8, true))).ok());
  const std::vector<shm::Execute> requests = expect_batch(1);
  EXPECT_TRUE((requests[0].flags & shm::kControlsGiven) != 0);
  const shm::RequestView table = view(requests[0]);
  ASSERT_EQ(table.inputs().size(), 2u);
  EXPECT_EQ(table.inputs()[1].index, 0xffff);
  EXPECT_EQ(table.inputs()[1].rank, 2u);
}

TEST_F(WarmUpTest, WhatDoesNotFitIntoCoresRegionIsRefused) {
  add_model(1, "direct");
  WarmUpInput big = numbers();
  big.dims = {1 << 20};
  const base::Status status = warm_up(*sample_of({big}));
  EXPECT_EQ(status.code(), base::Code::kUnavailable);
  EXPECT_EQ(status.message(), "core has no memory left for the 4194304 bytes of a warm-up sample");
  expect_nothing_left();
}

TEST(WarmUpSample, IsRefusedAsAClientsRequestWouldBe) {
  WarmUpInput input = numbers();
  input.datatype = base::Datatype::kFp32;
  EXPECT_EQ(refusal_of(input).message(),
            "[request id: <id_unknown>] inference input 'X' data-type is 'FP32', but model 'model' "
            "expects 'INT32'");
  input.name = "Z";
  EXPECT_EQ(refusal_of(input).message(),
            "[request id: <id_unknown>] expected 1 inputs but got 0 inputs for model 'model'. Got "
            "input(s) [], but missing required input(s) ['X']. Please provide all required "
            "input(s).");
  input = numbers();
  input.dims = {2, 2};
  EXPECT_EQ(refusal_of(input).code(), base::Code::kInvalidArgument);
  for (const int64_t dim : {int64_t{-2}, INT64_MAX}) {
    input.dims = {dim, 4};
    EXPECT_EQ(refusal_of(input).message(), "warmup setting has an impossible shape for input 'X'");
  }
  std::shared_ptr<const WarmUp> made;
  WarmUpInput strange = control();
  strange.server_made = false;
  EXPECT_EQ(WarmUp::make(spec_of(8), 1, {numbers(), strange}, &made).message(),
            "unexpected inference input 'START' for model 'model'");
}

TEST(WarmUpSample, RandomBytesAreTheSameEachTimeAndBoolsAreBools) {
  std::vector<uint8_t> first(64, 0xff);
  std::vector<uint8_t> second(64, 0);
  const auto sample = sample_of({numbers(Data::kRandom)});
  ASSERT_EQ(sample->byte_size(), 64u) << "8 bytes, aligned";
  sample->fill(first);
  sample->fill(second);
  EXPECT_TRUE(std::equal(first.begin(), first.begin() + 8, second.begin()));
  EXPECT_NE(std::vector<uint8_t>(first.begin(), first.begin() + 8), std::vector<uint8_t>(8, 0));
  auto spec = std::make_shared<model::ModelSpec>(*spec_of(8));
  spec->inputs[0].datatype = base::Datatype::kBool;
  WarmUpInput bools = numbers(Data::kRandom);
  bools.datatype = base::Datatype::kBool;
  bools.dims = {64};
  sample_of({bools}, 1, spec)->fill(first);
  for (const uint8_t byte : first) EXPECT_LE(byte, 1);
}

TEST(WarmUpSample, RandomStringsAreEmpty) {
  auto spec = std::make_shared<model::ModelSpec>(*spec_of(8));
  spec->inputs[0].datatype = base::Datatype::kBytes;
  WarmUpInput strings = numbers(Data::kRandom);
  strings.datatype = base::Datatype::kBytes;
  const auto sample = sample_of({strings}, 1, spec);
  std::vector<uint8_t> bytes(sample->byte_size(), 0xff);
  sample->fill(bytes);
  EXPECT_EQ(std::vector<uint8_t>(bytes.begin(), bytes.begin() + 8), std::vector<uint8_t>(8, 0));
}

TEST(WarmUpSample, StringsThatAreGivenAreCounted) {
  auto spec = std::make_shared<model::ModelSpec>(*spec_of(8));
  spec->inputs[0].datatype = base::Datatype::kBytes;
  WarmUpInput strings = numbers(Data::kGiven, std::string("\1\0\0\0a", 5));
  strings.datatype = base::Datatype::kBytes;
  std::shared_ptr<const WarmUp> made;
  EXPECT_EQ(WarmUp::make(spec, 1, {strings}, &made).message(),
            "[request id: <id_unknown>] expected 2 string elements for inference input 'X' for "
            "model 'model', got 1");
}

}  // namespace
}  // namespace pyserver::engine
