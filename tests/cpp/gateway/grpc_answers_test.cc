// How answers and messages travel: in place, compressed, in time, and not for ever.
#include <zlib.h>

#include "gateway/h2_client.h"

namespace pyserver::gateway::testing {
namespace {

class GrpcAnswersTest : public GrpcTest {
 protected:
  // The messages of an answer, each with its prefix's flag.
  static std::vector<std::pair<bool, std::string>> messages(const std::string& data) {
    std::vector<std::pair<bool, std::string>> found;
    for (size_t at = 0; at + 5 <= data.size();) {
      size_t size = 0;
      for (size_t index = 1; index < 5; ++index)
        size = size << 8 | static_cast<uint8_t>(data[at + index]);
      found.emplace_back(data[at] == 1, data.substr(at + 5, size));
      at += 5 + size;
    }
    return found;
  }

  // Undoes gzip and zlib alike.
  static std::string inflated(const std::string& bytes) {
    z_stream stream{};
    EXPECT_EQ(::inflateInit2(&stream, 15 + 32), Z_OK);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream.avail_in = static_cast<uInt>(bytes.size());
    std::string made(16u << 20, '\0');
    stream.next_out = reinterpret_cast<Bytef*>(made.data());
    stream.avail_out = static_cast<uInt>(made.size());
    EXPECT_EQ(::inflate(&stream, Z_FINISH), Z_STREAM_END);
    made.resize(stream.total_out);
    ::inflateEnd(&stream);
    return made;
  }

  void compress(CompressionLevel level) {
    GatewaySettings settings;
    settings.grpc.compression_level = level;
    start(settings);
  }

  int32_t open_accepting(H2Client* client, const char* accepted, const char* path = kInfer) {
    return client->open(path, {{"grpc-accept-encoding", accepted}});
  }
};

TEST_F(GrpcAnswersTest, a_large_message_is_received_where_it_belongs) {
  H2Client client(connect());
  const std::string data(8u << 20, 'x');
  const int32_t id = client.open(kInfer);
  client.write(id, framed(infer_message(data)), true);
  go(&client, 3000);
  EXPECT_EQ(client.answers[id].status(), "0");
  EXPECT_NE(client.answers[id].data.find(data), std::string::npos);
  const Counters now = gateway->snapshot();
  EXPECT_LT(now.copied_bytes, 64u << 10);
  EXPECT_GT(now.region_bytes, (8u << 20) - (64u << 10));
  expect_nothing_left();
}

TEST_F(GrpcAnswersTest, large_messages_of_streams_that_take_turns_are_not_mixed_up) {
  H2Client client(connect());
  std::vector<int32_t> ids;
  for (int count = 0; count < 4; ++count) {
    ids.push_back(client.open(kInfer));
    client.write(ids.back(),
                 framed(infer_message(std::string(2u << 20, static_cast<char>('a' + count)))),
                 true);
  }
  go(&client, 3000);
  for (size_t count = 0; count < ids.size(); ++count) {
    EXPECT_EQ(client.answers[ids[count]].status(), "0");
    EXPECT_NE(
        client.answers[ids[count]].data.find(std::string(2u << 20, static_cast<char>('a' + count))),
        std::string::npos);
  }
  EXPECT_GT(gateway->snapshot().region_bytes, 6u << 20);
  expect_nothing_left();
}

TEST_F(GrpcAnswersTest, the_level_and_the_client_choose_the_encoding) {
  struct Row {
    CompressionLevel level;
    const char* accepted;
    const char* chosen;
  };
  const Row rows[] = {
      {CompressionLevel::kLow, "identity, deflate, gzip", "gzip"},
      {CompressionLevel::kMedium, "identity, deflate, gzip", "deflate"},
      {CompressionLevel::kHigh, "gzip,deflate", "deflate"},
      {CompressionLevel::kHigh, "gzip", "gzip"},
      {CompressionLevel::kLow, "deflate", "deflate"},
      {CompressionLevel::kLow, "identity", ""},
      {CompressionLevel::kHigh, "", ""},
      {CompressionLevel::kNone, "identity, deflate, gzip", ""},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(std::to_string(static_cast<int>(row.level)) + " " + row.accepted);
    compress(row.level);
    const std::string data(4000, 'x');
    H2Client client(connect());
    const int32_t id = open_accepting(&client, row.accepted);
    client.write(id, framed(infer_message(data)), true);
    go(&client);
    auto& answer = client.answers[id];
    EXPECT_EQ(answer.status(), "0");
    EXPECT_EQ(answer.head["grpc-encoding"], row.chosen);
    const auto all = messages(answer.data);
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].first, *row.chosen != '\0');
    const std::string text = all[0].first ? inflated(all[0].second) : all[0].second;
    EXPECT_NE(text.find(data), std::string::npos);
    EXPECT_TRUE(!all[0].first || all[0].second.size() < 500u);
    expect_nothing_left();
  }
}

TEST_F(GrpcAnswersTest, what_does_not_get_smaller_is_sent_as_it_is) {
  compress(CompressionLevel::kHigh);
  H2Client client(connect());
  const int32_t id = open_accepting(&client, "gzip");
  client.write(id, framed(infer_message("abcd")), true);
  go(&client);
  const auto all = messages(client.answers[id].data);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_FALSE(all[0].first);
  EXPECT_NE(all[0].second.find("abcd"), std::string::npos);
  expect_nothing_left();
}

TEST_F(GrpcAnswersTest, a_large_answer_is_compressed_in_slices_and_its_status_comes_last) {
  compress(CompressionLevel::kLow);
  H2Client client(connect());
  const std::string data(12u << 20, 'x');
  const int32_t id = open_accepting(&client, "gzip");
  client.write(id, framed(infer_message(data)), true);
  go(&client, 4000);
  EXPECT_EQ(client.answers[id].status(), "0");
  const auto all = messages(client.answers[id].data);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_TRUE(all[0].first);
  EXPECT_NE(inflated(all[0].second).find(data), std::string::npos);
  expect_nothing_left();
}

TEST_F(GrpcAnswersTest, compressed_answers_of_a_stream_keep_their_order) {
  compress(CompressionLevel::kLow);
  H2Client client(connect());
  const int32_t id = open_accepting(&client, "gzip", kStream);
  const std::string large(3u << 20, 'L');
  client.write(id, framed(infer_message(large, "m", "first")));
  client.write(id, framed(infer_message(std::string(4000, 's'), "m", "second")), true);
  go(&client, 3000);
  EXPECT_EQ(client.answers[id].status(), "0");
  const auto all = messages(client.answers[id].data);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_NE(inflated(all[0].second).find("first"), std::string::npos);
  EXPECT_NE(inflated(all[1].second).find("second"), std::string::npos);
  expect_nothing_left();
}

TEST_F(GrpcAnswersTest, a_client_that_leaves_while_its_answer_is_compressed_is_forgotten) {
  compress(CompressionLevel::kLow);
  {
    H2Client client(connect());
    const int32_t id = open_accepting(&client, "gzip");
    client.write(id, framed(infer_message(std::string(12u << 20, 'x'))), true);
    for (int turn = 0; turn < 3000 && gateway->snapshot().region_bytes < (12u << 20) - (64u << 10);
         ++turn) {
      go(&client, 1);
    }
    go(&client, 2);
    client.cancel(id);
    go(&client);
  }
  expect_nothing_left();
}

TEST_F(GrpcAnswersTest, a_deadline_is_kept_to_the_millisecond_and_core_hears_of_it) {
  H2Client client(connect());
  core->on_submit = nullptr;
  const int32_t id = client.open(kInfer, {{"grpc-timeout", "30m"}});
  client.write(id, framed(infer_message(kData)), true);
  go(&client);
  EXPECT_EQ(client.answers[id].status(), "none");
  gateway->turn(1000);  // wakes by itself, long before the sweep of the second
  go(&client);
  EXPECT_EQ(client.answers[id].status(), "4");
  ASSERT_EQ(core->cancels.size(), 1u);
  EXPECT_EQ(core->cancels[0], core->submits[0].ticket);
  core->fail(core->submits[0], base::Code::kCancelled, "gone");
  expect_nothing_left();
}

}  // namespace
}  // namespace pyserver::gateway::testing
