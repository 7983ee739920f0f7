// Clients of gRPC that once left something behind: one that ended with its last bytes, and one that never let a full stream drain.
#include <malloc.h>

#include "gateway/h2_client.h"

namespace pyserver::gateway::testing {
namespace {

using Http2Clients = GrpcTest;

size_t heap_bytes() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

// The end came in the same event as the request and was not looked for after a read that emptied the socket, so that a client that had
// gone was answered to the last.
TEST_F(Http2Clients, an_end_that_comes_with_the_request_cancels_it) {
  core->on_submit = nullptr;
  H2Client client(connect());
  go(&client);
  const int32_t id = client.open(kInfer);
  client.write(id, framed(infer_message(kData)), true);
  client.client().half_close();
  run();
  ASSERT_EQ(core->submits.size(), 1u);
  ASSERT_EQ(core->cancels.size(), 1u);
  EXPECT_EQ(gateway->snapshot().connections_open, 0u);
  core->fail(core->submits[0], base::Code::kCancelled, "gone");
  expect_nothing_left();
}

// What waits behind a full stream was kept whole until all of it had been used, which need never be.
TEST_F(Http2Clients, a_stream_that_is_always_full_keeps_only_what_waits) {
  constexpr size_t kAtOnce = 60;
  core->on_submit = nullptr;
  H2Client client(connect());
  const int32_t id = client.open(kStream);
  std::string some;
  for (size_t count = 0; count < kAtOnce; ++count)
    some += framed(infer_message(std::string(8192, 'x')));
  for (int turn = 0; turn < 20; ++turn) {  // full, and more than that
    client.write(id, some);
    go(&client, 8);
  }
  ASSERT_EQ(core->submits.size(), 1024u);
  const size_t before = heap_bytes();
  size_t answered = 0;
  for (int turn = 0; turn < 80; ++turn) {
    for (size_t count = 0; count < kAtOnce; ++count) core->answer(core->submits[answered++]);
    client.write(id, some);
    go(&client, 8);
    client.answers[id].data.clear();
    client.answers[id].data.shrink_to_fit();
  }
  EXPECT_GT(core->submits.size(), 5000u);
  EXPECT_LT(heap_bytes(), before + (16u << 20));
  client.cancel(id);
  go(&client);
  while (answered < core->submits.size()) core->answer(core->submits[answered++]);
  expect_nothing_left();
}

}  // namespace
}  // namespace pyserver::gateway::testing
