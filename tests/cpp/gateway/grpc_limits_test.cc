// Clients of gRPC that ask for more than their share: what they may, and what becomes of them. The whole server under attack is in
// tests/h2_attacks.
#include "gateway/h2/allowance.h"
#include "gateway/h2/message_meter.h"
#include "gateway/h2/progress.h"
#include "gateway/h2_client.h"

namespace pyserver::gateway::testing {
namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;

class GrpcLimitsTest : public GrpcTest {
 protected:
  void expect_service(H2Client* client) {
    const int32_t id = client->open(kInfer);
    client->write(id, framed(infer_message(kData)), true);
    go(client);
    EXPECT_EQ(client->answers[id].status(), "0");
  }
  uint32_t body_timeout_s() const { return gateway->settings.body_timeout_s; }
};

std::string announced(uint32_t byte_size) {
  std::string prefix(5, '\0');
  for (size_t index = 0; index < 4; ++index)
    prefix[index + 1] = static_cast<char>(byte_size >> (24 - 8 * index));
  return prefix;
}

TEST_F(GrpcLimitsTest, a_call_without_a_message_ends) {
  H2Client client(connect());
  const int32_t id = client.open(kInfer);
  const int32_t waiting = client.open(kStream);
  go(&client);
  gateway->sweep_at(gateway->now_s + body_timeout_s());
  go(&client);
  EXPECT_EQ(client.answers[id].status(), "4");
  EXPECT_FALSE(client.answers[waiting].closed);  // the next request may come at any time
  expect_service(&client);
}

TEST_F(GrpcLimitsTest, a_message_that_trickles_in_ends_its_call) {
  H2Client client(connect());
  const int32_t id = client.open(kStream);
  client.write(id, announced(1 << 20));
  const uint32_t begin = gateway->now_s;
  for (uint32_t second = 1; second <= 2 * body_timeout_s(); ++second) {
    client.write(id, "x");
    go(&client, 2);
    gateway->sweep_at(begin + second);
  }
  go(&client);
  EXPECT_EQ(client.answers[id].status(), "4");
  expect_nothing_left();
}

TEST_F(GrpcLimitsTest, an_answer_that_is_not_taken_gives_its_memory_back) {
  H2Client client(connect(), false);
  const int32_t id = client.open(kInfer);
  client.write(id, framed(infer_message(std::string(1u << 20, 'x'))), true);
  go(&client, 200);
  EXPECT_GT(gateway->live_blocks(), 0u);
  const uint32_t begin = gateway->now_s;
  for (uint32_t second = 1; second <= 2 * gateway->settings.write_timeout_s + 1; ++second)
    gateway->sweep_at(begin + second);
  go(&client);
  EXPECT_TRUE(client.answers[id].closed);
  EXPECT_EQ(client.answers[id].error_code, uint32_t{NGHTTP2_CANCEL});
  expect_nothing_left();
}

TEST_F(GrpcLimitsTest, what_is_only_announced_takes_nothing_from_others) {
  H2Client greedy(connect());
  for (int count = 0; count < 20; ++count) {
    const int32_t id = greedy.open(kInfer);
    greedy.write(id, announced(40u << 20) + std::string(100, 'x'));
  }
  go(&greedy);
  H2Client other(connect());
  expect_service(&other);
}

TEST_F(GrpcLimitsTest, a_message_may_be_larger_than_half_of_the_region) {
  H2Client client(connect());
  const std::string data(36u << 20, 'x');
  const int32_t id = client.open(kInfer);
  client.write(id, framed(infer_message(data)), true);
  go(&client, 8000);
  EXPECT_EQ(client.answers[id].status(), "0");
  EXPECT_EQ(client.answers[id].data.size() >> 20, 36u);
  expect_nothing_left();
}

TEST_F(GrpcLimitsTest, a_full_stream_keeps_what_comes_as_bytes_until_there_is_room) {
  constexpr size_t kMaxUnderWay = 1024;
  constexpr size_t kAll = 3000;
  core->on_submit = nullptr;
  H2Client client(connect());
  const int32_t id = client.open(kStream);
  std::string all;
  for (size_t count = 0; count < kAll; ++count) all += framed(infer_message(kData));
  client.write(id, all, true);
  go(&client, 100);
  EXPECT_EQ(core->submits.size(), kMaxUnderWay);
  size_t answered = 0;
  for (int turn = 0; turn < 10000 && !client.answers[id].closed; ++turn) {
    if (answered < core->submits.size()) core->answer(core->submits[answered++]);
    EXPECT_LE(core->submits.size() - answered, kMaxUnderWay);
    go(&client, 1);
  }
  EXPECT_EQ(core->submits.size(), kAll);
  EXPECT_EQ(client.answers[id].status(), "0");
  expect_nothing_left();
}

TEST_F(GrpcLimitsTest, streams_that_are_only_reset_end_the_connection) {
  H2Client client(connect());
  for (int count = 0; count < 12000 && client.goaways.empty(); ++count) {
    client.cancel(client.open(kInfer));
    if (count % 100 == 99) go(&client, 1);
  }
  go(&client);
  ASSERT_FALSE(client.goaways.empty());
  EXPECT_EQ(client.goaways[0], uint32_t{NGHTTP2_ENHANCE_YOUR_CALM});
  EXPECT_TRUE(client.client().ended);
  expect_nothing_left();
}

TEST_F(GrpcLimitsTest, bytes_behind_the_message_are_an_error) {
  core->on_submit = nullptr;
  H2Client client(connect());
  const int32_t id = client.open(kInfer);
  client.write(id, framed(infer_message(kData)) + "x", true);
  go(&client);
  EXPECT_EQ(client.answers[id].status(), "13");
  for (const shm::Submit& submit : core->submits) core->answer(submit);
  expect_nothing_left();
}

TEST(AllowanceTest, what_is_spent_comes_back_with_time_and_work) {
  h2::Allowance allowance(3, 2);
  uint64_t now = 1000 * kSecondNs;
  for (int count = 0; count < 3; ++count) EXPECT_TRUE(allowance.spend(now));
  EXPECT_FALSE(allowance.spend(now));
  EXPECT_FALSE(allowance.spend(now + kSecondNs / 2));
  now += kSecondNs;
  EXPECT_TRUE(allowance.spend(now));
  EXPECT_TRUE(allowance.spend(now));
  EXPECT_FALSE(allowance.spend(now));
  allowance.earn(100);
  for (int count = 0; count < 3; ++count) EXPECT_TRUE(allowance.spend(now));
  EXPECT_FALSE(allowance.spend(now));
}

TEST(ProgressTest, enough_bytes_in_each_time_out_are_progress) {
  h2::Progress progress(100);
  EXPECT_FALSE(progress.stalled(109, 10));
  progress.moved(kMinProgressBytes);
  EXPECT_FALSE(progress.stalled(110, 10));
  progress.moved(kMinProgressBytes - 1);
  EXPECT_FALSE(progress.stalled(119, 10));
  EXPECT_TRUE(progress.stalled(120, 10));
  progress.restart(120);
  EXPECT_FALSE(progress.stalled(129, 10));
}

std::span<const uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string gzipped(const std::string& text) {
  std::string made;
  Deflater deflater(Encoding::kGzip);
  EXPECT_TRUE(deflater.feed(bytes_of(text), true, &made));
  return made;
}

std::string compressed(const std::string& text) {
  std::string made = framed(gzipped(text));
  made[0] = 1;
  return made;
}

TEST(MessageMeterTest, messages_are_counted_however_they_come) {
  const std::string text = framed("abc") + framed("") + compressed("def");
  for (const size_t step : {size_t{1}, size_t{4}, text.size()}) {
    h2::MessageMeter meter(Encoding::kGzip, 100);
    for (size_t at = 0; at < text.size(); at += step)
      EXPECT_OK(meter.take(bytes_of(text.substr(at, step))));
    EXPECT_EQ(meter.message_count(), 3u);
    EXPECT_FALSE(meter.inside_message());
    EXPECT_OK(meter.take(bytes_of(framed("x").substr(0, 2))));
    EXPECT_TRUE(meter.inside_message());
  }
}

TEST(MessageMeterTest, the_limit_is_for_what_a_message_becomes) {
  EXPECT_OK(h2::MessageMeter(Encoding::kGzip, 1000).take(bytes_of(framed(std::string(1000, 'x')))));
  EXPECT_FALSE(h2::MessageMeter(Encoding::kGzip, 1000).take(bytes_of(announced(1001))).ok());
  EXPECT_OK(
      h2::MessageMeter(Encoding::kGzip, 1000).take(bytes_of(compressed(std::string(1000, 'x')))));
  const std::string bomb = compressed(std::string(100000, 'x'));
  EXPECT_LT(bomb.size(), 1000u);
  EXPECT_FALSE(h2::MessageMeter(Encoding::kGzip, 1000).take(bytes_of(bomb)).ok());
  // Not ours to inflate, or no gzip at all: core says what is wrong with it.
  EXPECT_OK(h2::MessageMeter(Encoding::kIdentity, 1000).take(bytes_of(bomb)));
  std::string noise = framed("noise, not gzip");
  noise[0] = 1;
  h2::MessageMeter meter(Encoding::kGzip, 1000);
  EXPECT_OK(meter.take(bytes_of(noise)));
  EXPECT_EQ(meter.message_count(), 1u);
}

}  // namespace
}  // namespace pyserver::gateway::testing
