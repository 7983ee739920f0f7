// The other side of an instance, driven by hand: a submitter's region with request tables in it,
// and core's end of the channel.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "instance/executor.h"
#include "shm/channel.h"
#include "shm/peer.h"
#include "shm/table.h"

namespace pyserver::instance {

inline constexpr uint32_t kInstancePeer = 7;
inline constexpr uint32_t kSubmitterPeer = 3;
inline constexpr uint64_t kRegionBytes = 4u << 20;

class CoreSide : public ::testing::Test {
 protected:
  void SetUp() override { open(kRegionBytes); }

  void open(uint64_t budget_bytes) {
    ASSERT_TRUE(shm::ChannelFds::make(kInstancePeer, kRegionBytes, true, &fds_).ok());
    ASSERT_TRUE(shm::ChannelEnd::open(fds_, shm::Side::kCore, &core_).ok());
    ASSERT_TRUE(shm::make_memfd("test-instance", kRegionBytes, &region_).ok());
    ASSERT_TRUE(shm::Mapping::map(region_.get(), false, &instance_memory_).ok());
    base::UniqueFd submitter;
    ASSERT_TRUE(shm::make_memfd("test-submitter", kRegionBytes, &submitter).ok());
    ASSERT_TRUE(shm::Mapping::map(submitter.get(), true, &submitter_memory_).ok());
    regions_ = std::make_shared<shm::PeerRegions>();
    ASSERT_TRUE(regions_->add(kSubmitterPeer, submitter.get()).ok());
    const base::Status status =
        Executor::open(fds_, region_.get(), regions_, budget_bytes, &executor_);
    ASSERT_TRUE(status.ok()) << status.message();
  }

  uint64_t put(std::span<const uint8_t> bytes, uint64_t alignment = 64) {
    submitter_used_ = (submitter_used_ + alignment - 1) / alignment * alignment;
    const uint64_t offset = submitter_used_;
    if (!bytes.empty()) {
      std::memcpy(submitter_memory_.data() + offset, bytes.data(), bytes.size());
    }
    submitter_used_ += bytes.size();
    return offset;
  }

  shm::Location put_floats(const std::vector<float>& values, uint64_t alignment = 64) {
    const auto* data = reinterpret_cast<const uint8_t*>(values.data());
    const uint64_t bytes = values.size() * sizeof(float);
    return {shm::Place::kRegion, kSubmitterPeer, put({data, bytes}, alignment), bytes};
  }

  shm::Execute put_request(uint64_t ticket, shm::RequestBuilder& table, uint32_t batch_size = 1) {
    const std::span<const uint8_t> bytes = table.finish();
    shm::Execute record;
    record.submitter = kSubmitterPeer;
    record.ticket = ticket;
    record.table_offset = put(bytes);
    record.table_bytes = static_cast<uint32_t>(bytes.size());
    record.batch_size = batch_size;
    return record;
  }

  // INPUT0: FP32 [rows, values / rows].
  shm::Execute float_request(uint64_t ticket, const std::vector<float>& values, int64_t rows = 1,
                             uint64_t alignment = 64) {
    shm::RequestBuilder table;
    const int64_t shape[] = {rows, static_cast<int64_t>(values.size()) / rows};
    table.add_input("INPUT0", 0, base::Datatype::kFp32, shape, put_floats(values, alignment));
    return put_request(ticket, table, static_cast<uint32_t>(rows));
  }

  void send_batch(uint64_t id, const std::vector<shm::Execute>& requests) {
    shm::BatchHead head;
    head.batch = id;
    head.request_count = static_cast<uint32_t>(requests.size());
    core_.send(shm::pack(head));
    for (const shm::Execute& request : requests) core_.send(shm::pack(request));
    core_.flush();
  }

  template <typename T>
  void send(const T& message) {
    core_.send(shm::pack(message));
    core_.flush();
  }

  std::optional<shm::Record> take() {
    shm::Record record;
    if (!core_.try_take(&record)) return std::nullopt;
    core_.commit();
    return record;
  }

  shm::Response take_response() {
    const std::optional<shm::Record> record = take();
    EXPECT_TRUE(record && record->kind == shm::Kind::kResponse);
    return record ? shm::unpack<shm::Response>(*record) : shm::Response{};
  }

  bool next_is(shm::Kind kind) {
    const std::optional<shm::Record> record = take();
    return record && record->kind == kind;
  }

  shm::ResponseView view(const shm::Response& response) {
    shm::ResponseView made;
    const auto bytes = shm::bytes_at(instance_memory_, response.table_offset, response.table_bytes);
    EXPECT_TRUE(bytes && made.parse(*bytes).ok());
    return made;
  }

  void return_lease(const shm::Response& response) {
    shm::Returned record;
    record.cookie = response.cookie;
    send(record);
    executor_->poll();
  }

  Link& link() { return *executor_->link(); }

  shm::ChannelFds fds_;
  shm::ChannelEnd core_;
  base::UniqueFd region_;
  shm::Mapping instance_memory_;
  shm::Mapping submitter_memory_;
  uint64_t submitter_used_ = 0;
  std::shared_ptr<shm::PeerRegions> regions_;
  std::unique_ptr<Executor> executor_;
};

}  // namespace pyserver::instance
