// What the gateway makes of HTTP itself: pieces, pipelines, chunks, limits, time, and what is not HTTP.
#include <zlib.h>

#include "gateway/harness.h"

namespace pyserver::gateway::testing {
namespace {

class HttpTest : public GatewayTest {
 protected:
  // One request of each kind that the gateway takes apart itself.
  std::vector<std::string> good_requests() {
    size_t json_bytes = 0;
    const std::string body = binary_body(std::string(8, 'x'), &json_bytes);
    return {post(kJsonBody), binary_post(std::string(64, 'a')), chunked(kJsonBody, {3, 1, 7, 1000}),
            "GET /v2/health/live HTTP/1.1\r\n\r\n",
            chunked(body, {10, 40},
                    "Inference-Header-Content-Length: " + std::to_string(json_bytes) + "\r\n")};
  }

  static std::string chunked(const std::string& body, const std::vector<size_t>& sizes,
                             const std::string& headers = "") {
    std::string text = "POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\n" + headers +
                       "Transfer-Encoding: chunked\r\n\r\n";
    size_t at = 0;
    for (size_t index = 0; at < body.size(); ++index) {
      const size_t size = std::min(sizes[index % sizes.size()], body.size() - at);
      char head[32];
      std::snprintf(head, sizeof head, "%zx\r\n", size);
      text += head + body.substr(at, size) + "\r\n";
      at += size;
    }
    return text + "0\r\n\r\n";
  }

  static size_t count(const std::string& text, const std::string& what) {
    size_t found = 0;
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
      ++found;
    return found;
  }

  static std::string compress(const std::string& text, int bits) {
    z_stream stream{};
    EXPECT_EQ(::deflateInit2(&stream, 6, Z_DEFLATED, bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    std::string out(::deflateBound(&stream, text.size()) + 64, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream.avail_in = static_cast<uInt>(text.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    EXPECT_EQ(::deflate(&stream, Z_FINISH), Z_STREAM_END);
    out.resize(stream.total_out);
    ::deflateEnd(&stream);
    return out;
  }

  static std::string decompress(const std::string& text, int bits, size_t most = 1u << 20) {
    z_stream stream{};
    EXPECT_EQ(::inflateInit2(&stream, bits), Z_OK);
    std::string out(most, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream.avail_in = static_cast<uInt>(text.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    EXPECT_EQ(::inflate(&stream, Z_FINISH), Z_STREAM_END);
    out.resize(stream.total_out);
    ::inflateEnd(&stream);
    return out;
  }

  static constexpr int kGzip = 31;
  static constexpr int kDeflate = 15;
};

TEST_F(HttpTest, requests_may_come_byte_by_byte) {
  Client client = connect();
  for (const std::string& request : good_requests()) {
    const std::string whole = exchange(&client, request);
    ASSERT_EQ(whole.substr(0, 12), "HTTP/1.1 200") << request << whole;
    client.received.clear();
    for (const char byte : request) {
      client.send({&byte, 1});
      gateway->turn(0);
    }
    run();
    EXPECT_EQ(client.read(), whole);
  }
  expect_nothing_left();
}

TEST_F(HttpTest, requests_may_be_cut_in_two_anywhere) {
  Client client = connect();
  for (const std::string& request : good_requests()) {
    const std::string whole = exchange(&client, request);
    for (size_t cut = 1; cut < request.size(); ++cut) {
      client.received.clear();
      client.send(request.substr(0, cut));
      gateway->turn(0);
      client.send(request.substr(cut));
      run(4);
      ASSERT_EQ(client.read(), whole) << "cut at " << cut;
    }
  }
  expect_nothing_left();
}

TEST_F(HttpTest, a_request_cut_short_is_dropped_without_a_trace) {
  for (const std::string& request : good_requests()) {
    for (size_t length = 0; length < request.size(); ++length) {
      Client client = connect();
      client.send(request.substr(0, length));
      run(2);
      client.half_close();
      run(2);
      EXPECT_EQ(client.read(), "");
      EXPECT_TRUE(client.ended);
    }
  }
  expect_nothing_left();
  EXPECT_EQ(gateway->snapshot().connections_open, 0u);
}

TEST_F(HttpTest, pipelined_requests_are_answered_in_order) {
  std::string all;
  const std::vector<std::string> requests = good_requests();
  std::string expected;
  {
    Client client = connect();
    for (const std::string& request : requests) expected += exchange(&client, request);
  }
  for (const std::string& request : requests) all += request;
  for (const size_t piece : {all.size(), size_t{1}, size_t{7}, size_t{100}}) {
    Client client = connect();
    for (size_t at = 0; at < all.size(); at += piece) {
      client.send(all.substr(at, piece));
      gateway->turn(0);
      core->poll();
    }
    run(30);
    EXPECT_EQ(client.read(), expected) << "in pieces of " << piece;
  }
  std::string many;
  for (int index = 0; index < 500; ++index) many += post(kJsonBody);
  Client client = connect();
  client.send(many);
  for (int turn = 0; turn < 2000; ++turn) {
    gateway->turn(0);
    core->poll();
    client.read();
  }
  EXPECT_EQ(count(client.read(), "HTTP/1.1 200 OK"), 500u);
  expect_nothing_left();
}

TEST_F(HttpTest, while_a_request_is_in_flight_only_one_read_is_kept) {
  core->on_submit = nullptr;
  Client client = connect();
  client.send(post(kJsonBody));
  run();
  const std::string junk(1 << 20, 'x');
  size_t taken = 0;
  for (int turn = 0; turn < 50; ++turn) {
    taken += client.send_some(junk);
    run(1);
  }
  EXPECT_LT(taken, junk.size());  // the socket's own buffer is full and nobody empties it
  core->answer(core->submits[0]);
  run();
  EXPECT_EQ(count(client.read(), "HTTP/1.1 200"), 1u);
}

TEST_F(HttpTest, what_is_not_http_is_400_and_the_end) {
  const std::vector<std::string> rows = {
      "hello\r\n\r\n",
      "GET\r\n\r\n",
      "GET / HTTP/9.9\r\n\r\n",
      "GET / HTTP/1.1\nHost: x\n\n",
      "GET /\x80 HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\nA B: c\r\n\r\n",
      "GET / HTTP/1.1\r\nA : c\r\n\r\n",
      "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
      "GET / HTTP/1.1\r\n: b\r\n\r\n",
      std::string("GET / HTTP/1.1\r\nA: \0b\r\n\r\n", 25),
      "CONNECT a:80 HTTP/1.1\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
      "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
      "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\nhello",
      "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello",
      "POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\nhello",
      "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\nhello",
      "POST / HTTP/1.1\r\nContent-Length:\r\n\r\nhello",
      "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
      "chunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nTransfer-Encoding:\r\nContent-Length: 5\r\n\r\nhello",
      "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST /v2/models/m/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      "POST /v2/models/m/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
      "POST /v2/models/m/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
      "POST /v2/models/m/infer HTTP/1.1\r\nTransfer-Encoding: "
      "chunked\r\n\r\nffffffffffffffffff\r\n",
      "POST /v2/models/m/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
  };
  for (const std::string& row : rows) {
    Client client = connect();
    const std::string answer = exchange(&client, row);
    EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 400") << row << answer;
    EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos) << row;
    EXPECT_EQ(body_of(answer).substr(0, 10), "{\"error\":\"") << row;
    client.half_close();
    run();
    client.read();
    EXPECT_TRUE(client.ended) << row;
  }
  EXPECT_EQ(gateway->snapshot().malformed, rows.size());
  expect_nothing_left();
  EXPECT_EQ(gateway->snapshot().connections_open, 0u);
}

TEST_F(HttpTest, a_content_length_that_is_none_is_named) {
  EXPECT_EQ(body_of(exchange("POST / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n")),
            R"({"error":"Unable to parse Content-Length, got: 1x"})");
}

TEST_F(HttpTest, large_heads_are_431) {
  const std::vector<std::string> rows = {
      "GET /" + std::string(70000, 'a') + " HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\nA: " + std::string(70000, 'a') + "\r\n\r\n",
      "GET / HTTP/1.1\r\n" + std::string(70000, 'a') + ": b\r\n\r\n",
      [] {
        std::string text = "GET / HTTP/1.1\r\n";
        for (int index = 0; index < 300; ++index) text += "A: b\r\n";
        return text + "\r\n";
      }(),
  };
  for (const std::string& row : rows) {
    Client client = connect();
    const std::string answer = exchange(&client, row);
    EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 431") << answer;
  }
}

TEST_F(HttpTest, too_many_chunks_are_refused_with_tritons_text) {
  const std::string body(65537, ' ');
  const std::string answer = exchange(chunked(body, {1}));
  EXPECT_EQ(
      body_of(answer),
      R"({"error":"Chunked request body exceeds maximum of 65536 non-empty chunks. Send fewer or larger HTTP chunks."})");
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
  expect_nothing_left();
}

TEST_F(HttpTest, a_chunked_body_over_the_limit_ends_the_connection) {
  GatewaySettings settings;
  settings.max_input_bytes = 1000;
  start(settings);
  const std::string answer = exchange(chunked(std::string(5000, ' '), {100}));
  EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 400");
  EXPECT_NE(answer.find("exceeds the maximum allowed input size of 1000 bytes"), std::string::npos)
      << answer;
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
  expect_nothing_left();
}

TEST_F(HttpTest, trailers_are_skipped) {
  std::string request = chunked(kJsonBody, {1000});
  request.insert(request.size() - 2, "X-Trailer: yes\r\nContent-Length: 3\r\n");
  Client client = connect();
  EXPECT_EQ(exchange(&client, request).substr(0, 12), "HTTP/1.1 200");
  EXPECT_EQ(exchange(&client, post(kJsonBody)).substr(0, 12), "HTTP/1.1 200");
}

TEST_F(HttpTest, expectations) {
  Client client = connect();
  const std::string body = kJsonBody;
  const std::string head =
      "POST /v2/models/m/infer HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n";
  EXPECT_EQ(exchange(&client, head), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(exchange(&client, body).substr(0, 12), "HTTP/1.1 200");
  Client refused = connect();
  std::string answer = exchange(
      &refused,
      "POST /v2/models/no/infer HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n");
  EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 404");
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
  answer =
      exchange("POST /v2/models/m/infer HTTP/1.1\r\nExpect: miracles\r\nContent-Length: 9\r\n\r\n");
  EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 417");
  expect_nothing_left();
}

TEST_F(HttpTest, connections_end_when_http_says_so) {
  const std::string request = post(kJsonBody);
  const auto with = [&](const std::string& version, const std::string& header) {
    std::string text = post(kJsonBody, header);
    return text.replace(text.find("HTTP/1.1"), 8, version);
  };
  struct Row {
    std::string request;
    std::string says;
    bool ends;
  };
  for (const Row& row :
       {Row{with("HTTP/1.1", ""), "", false},
        Row{with("HTTP/1.1", "Connection: close\r\n"), "Connection: close", true},
        Row{with("HTTP/1.0", ""), "Connection: close", true},
        Row{with("HTTP/1.0", "Connection: keep-alive\r\n"), "Connection: keep-alive", false}}) {
    Client client = connect();
    const std::string answer = exchange(&client, row.request);
    EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 200");
    EXPECT_EQ(answer.find("Connection:") != std::string::npos, !row.says.empty()) << row.request;
    EXPECT_NE(answer.find(row.says), std::string::npos);
    EXPECT_EQ(client.ended, row.ends);
  }
}

TEST_F(HttpTest, compressed_requests) {
  size_t json_bytes = 0;
  const std::string binary = binary_body(std::string(4000, 'z'), &json_bytes);
  for (const auto& [name, bits] : {std::pair("gzip", kGzip), std::pair("deflate", kDeflate)}) {
    const std::string encoding = std::string("Content-Encoding: ") + name + "\r\n";
    Client client = connect();
    const std::string plain = exchange(&client, post(kJsonBody));
    EXPECT_EQ(exchange(&client, post(compress(kJsonBody, bits), encoding)), plain);
    EXPECT_EQ(exchange(&client, chunked(compress(kJsonBody, bits), {1, 5}, encoding)), plain);
    const std::string header =
        "Inference-Header-Content-Length: " + std::to_string(json_bytes) + "\r\n";
    EXPECT_EQ(exchange(&client, post(compress(binary, bits), encoding + header)),
              exchange(&client, post(binary, header)));
    const std::string cut = compress(kJsonBody, bits);
    EXPECT_EQ(exchange(&client, post(cut.substr(0, cut.size() - 6), encoding)).substr(0, 12),
              "HTTP/1.1 400");
    EXPECT_EQ(exchange(post("this is not compressed", encoding)).substr(0, 12), "HTTP/1.1 400");
    EXPECT_EQ(exchange(post(compress(kJsonBody, bits) + "more", encoding)).substr(0, 12),
              "HTTP/1.1 400");
  }
  expect_nothing_left();
}

TEST_F(HttpTest, a_zip_bomb_is_stopped_at_the_limit) {
  GatewaySettings settings;
  settings.max_input_bytes = 1u << 20;
  start(settings);
  const std::string bomb = compress(std::string(200u << 20, ' '), kGzip);
  const std::string answer = exchange(post(bomb, "Content-Encoding: gzip\r\n"));
  EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 400");
  EXPECT_NE(answer.find("Use --http-max-input-size to increase the limit."), std::string::npos);
  expect_nothing_left();
}

TEST_F(HttpTest, compressed_answers) {
  struct Row {
    const char* accept;
    const char* chosen;
    int bits;
  };
  Client client = connect();
  const std::string plain = body_of(exchange(&client, post(kJsonBody)));
  const std::string binary = body_of(exchange(&client, binary_post(std::string(400, 'q'))));
  for (const Row& row :
       {Row{"gzip", "gzip", kGzip}, Row{"deflate, gzip", "deflate", kDeflate},
        Row{"deflate;q=0.5, gzip;q=0.8", "gzip", kGzip}, Row{"identity, gzip;q=0.9", nullptr, 0},
        Row{"br, gzip;q=0", nullptr, 0}, Row{"*", nullptr, 0}}) {
    const std::string accept = std::string("Accept-Encoding: ") + row.accept + "\r\n";
    const std::string answer = exchange(&client, post(kJsonBody, accept));
    const std::string with_binary = exchange(&client, binary_post(std::string(400, 'q'), accept));
    EXPECT_NE(with_binary.find("Inference-Header-Content-Length: "), std::string::npos);
    if (row.chosen == nullptr) {
      EXPECT_EQ(answer.find("Content-Encoding"), std::string::npos);
      EXPECT_EQ(body_of(answer), plain);
    } else {
      EXPECT_NE(answer.find(std::string("Content-Encoding: ") + row.chosen + "\r\n"),
                std::string::npos);
      EXPECT_EQ(decompress(body_of(answer), row.bits), plain);
      EXPECT_EQ(decompress(body_of(with_binary), row.bits), binary);
    }
  }
  expect_nothing_left();
}

TEST_F(HttpTest, a_large_answer_is_compressed_while_others_are_served) {
  const std::string content(2u << 20, 'c');
  core->on_submit = [&](const shm::Submit& submit) { core->answer_with(submit, content); };
  Client large = connect();
  Client small = connect();
  large.send(binary_post(std::string(8, 'x'), "Accept-Encoding: gzip\r\n"));
  gateway->turn(0);
  core->poll();
  gateway->turn(0);
  small.send("GET /v2/health/live HTTP/1.1\r\n\r\n");
  gateway->turn(0);
  EXPECT_EQ(small.read().substr(0, 12), "HTTP/1.1 200");
  EXPECT_EQ(large.read(), "");
  run(30);
  const std::string answer = large.read();
  EXPECT_NE(answer.find("Content-Encoding: gzip\r\n"), std::string::npos);
  EXPECT_TRUE(decompress(body_of(answer), kGzip, 4u << 20).ends_with(content));
  // A client that leaves meanwhile leaves nothing.
  Client leaving = connect();
  leaving.send(binary_post(std::string(8, 'x'), "Accept-Encoding: gzip\r\n"));
  gateway->turn(0);
  core->poll();
  gateway->turn(0);
  leaving.close();
  expect_nothing_left();
}

TEST_F(HttpTest, the_answer_to_head_has_no_body) {
  Client client = connect();
  const std::string answer = exchange(&client, "HEAD /v2/models/m/infer HTTP/1.1\r\n\r\n");
  EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 405");
  EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
  EXPECT_EQ(exchange(&client, post(kJsonBody)).substr(0, 12), "HTTP/1.1 200");
}

TEST_F(HttpTest, liveness) {
  Client client = connect();
  EXPECT_EQ(exchange(&client, "GET /v2/health/live?x=y HTTP/1.1\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(exchange(&client, "POST /v2/health/live HTTP/1.1\r\nContent-Length: 2\r\n\r\nab")
                .substr(0, 12),
            "HTTP/1.1 405");
  gateway->set_live(false);
  EXPECT_EQ(exchange(&client, "GET /v2/health/live HTTP/1.1\r\n\r\n").substr(0, 12),
            "HTTP/1.1 400");
}

TEST_F(HttpTest, restricted_apis_want_their_header) {
  GatewaySettings settings;
  settings.restrictions["inference"] = {"X-Key", "secret"};
  settings.restrictions["health"] = {"X-Health", "1"};
  start(settings);
  Client client = connect();
  const std::string refused = exchange(&client, post(kJsonBody));
  EXPECT_EQ(refused.substr(0, 12), "HTTP/1.1 403");
  EXPECT_EQ(body_of(refused), R"({"error":"This API is restricted, expecting header 'X-Key'"})");
  EXPECT_EQ(exchange(&client, "GET /v2/models/m/infer HTTP/1.1\r\n\r\n").substr(0, 12),
            "HTTP/1.1 403");
  EXPECT_EQ(exchange(&client, post(kJsonBody, "x-key: other\r\n")).substr(0, 12), "HTTP/1.1 403");
  EXPECT_EQ(exchange(&client, post(kJsonBody, "x-key: secret\r\n")).substr(0, 12), "HTTP/1.1 200");
  EXPECT_EQ(exchange(&client, "GET /v2/health/live HTTP/1.1\r\n\r\n").substr(0, 12),
            "HTTP/1.1 403");
  EXPECT_EQ(exchange(&client, "GET /v2/health/live HTTP/1.1\r\nX-Health: 1\r\n\r\n").substr(0, 12),
            "HTTP/1.1 200");
}

}  // namespace
}  // namespace pyserver::gateway::testing
