// What nghttp2 tells of a client's connection.
#include <memory>

#include "gateway/h2/session.h"

namespace pyserver::gateway::h2 {

struct Session::Callbacks {
  // What work earns of the allowances.
  static constexpr uint64_t kResetsPerGoodEnd = 4;
  static constexpr uint64_t kIdleFramesPerData = 4;

  static Session* self(void* user_data) {
    return static_cast<Session*>(static_cast<Transport*>(user_data));
  }
  static Stream* stream_of(nghttp2_session* session, int32_t id) {
    return static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, id));
  }

  static int begin_frame(nghttp2_session*, const nghttp2_frame_hd* head, void* user_data) {
    self(user_data)->begin_frame(*head);
    return 0;
  }

  static int begin_headers(nghttp2_session* session, const nghttp2_frame* frame, void* user_data) {
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id,
                                         self(user_data)->open(frame->hd.stream_id));
    return 0;
  }

  static int header(nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name,
                    size_t name_size, const uint8_t* value, size_t value_size, uint8_t,
                    void* user_data) {
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    Stream* const stream = stream_of(session, frame->hd.stream_id);
    if (stream == nullptr) return 0;
    constexpr size_t kFieldBytes = 32;  // what HTTP/2 counts for each field beside its texts
    stream->head_bytes += name_size + value_size + kFieldBytes;
    // The rest is only decoded; head_complete() refuses it.
    if (stream->head_bytes > self(user_data)->host()->settings.max_head_bytes) return 0;
    const std::string_view key(reinterpret_cast<const char*>(name), name_size);
    const std::string_view text(reinterpret_cast<const char*>(value), value_size);
    if (key == ":method") {
      stream->method = text;
    } else if (key == ":path") {
      stream->path = text;
    } else if (!key.starts_with(':')) {
      stream->fields.push_back({std::string(key), std::string(text)});
    }
    return 0;
  }

  static int frame_received(nghttp2_session* session, const nghttp2_frame* frame, void* user_data) {
    Session* const it = self(user_data);
    it->heard();
    const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame->hd.type) {
      case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0 && !it->count_ping()) {
          it->give_up(NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings");
        }
        it->count_idle_frame();
        return 0;
      case NGHTTP2_RST_STREAM:
        it->count_reset();
        return 0;
      case NGHTTP2_DATA:
        if (frame->hd.length == frame->data.padlen && !ends) {
          it->count_idle_frame();
          return 0;
        }
        it->idle_frames_.earn(1);
        break;
      case NGHTTP2_HEADERS:
        break;
      default:
        it->count_idle_frame();
        return 0;
    }
    it->moved_ = true;
    Stream* const stream = stream_of(session, frame->hd.stream_id);
    if (stream == nullptr) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
      it->head_complete(stream);
    if (ends) it->input_ended(stream);
    return 0;
  }

  static int data_received(nghttp2_session* session, uint8_t, int32_t id, const uint8_t* bytes,
                           size_t size, void*) {
    // The connection's window is for all streams; what one of them may hold back is its own.
    nghttp2_session_consume_connection(session, size);
    Stream* const stream = stream_of(session, id);
    if (stream != nullptr) stream->incoming.moved(size);
    if (stream != nullptr && stream->call != nullptr && !stream->finished()) {
      stream->call->take({bytes, size});
    } else {
      nghttp2_session_consume_stream(session, id, size);
    }
    return 0;
  }

  static int stream_closed(nghttp2_session* session, int32_t id, uint32_t error_code,
                           void* user_data) {
    Session* const it = self(user_data);
    if (Stream* const stream = stream_of(session, id)) {
      if (error_code == NGHTTP2_NO_ERROR) it->resets_.earn(kResetsPerGoodEnd);
      nghttp2_session_set_stream_user_data(session, id, nullptr);
      it->gone(stream);
    }
    return 0;
  }

  static int send_data(nghttp2_session*, nghttp2_frame*, const uint8_t* head, size_t length,
                       nghttp2_data_source* source, void* user_data) {
    constexpr size_t kFrameHeadBytes = 9;
    Outbox& outbox = self(user_data)->outbox();
    outbox.append(head, kFrameHeadBytes);
    auto* const stream = static_cast<Stream*>(source->ptr);
    stream->outgoing.moved(length);
    stream->write_to(&outbox, length);
    return 0;
  }

  // Whether we reset a stream because of what its client did.
  static bool is_fault(uint32_t error_code) {
    return error_code != NGHTTP2_NO_ERROR && error_code != NGHTTP2_CANCEL;
  }

  // An answer that is out ends the stream, also when the client is still sending.
  static int frame_sent(nghttp2_session* session, const nghttp2_frame* frame, void* user_data) {
    Session* const it = self(user_data);
    if (frame->hd.type == NGHTTP2_RST_STREAM && is_fault(frame->rst_stream.error_code))
      it->count_reset();
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    it->moved_ = true;
    it->idle_frames_.earn(kIdleFramesPerData);
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    const Stream* const stream = stream_of(session, frame->hd.stream_id);
    if (stream != nullptr && !stream->input_ended) {
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    return 0;
  }

  // As large as the peer and the windows allow.
  static ssize_t frame_size(nghttp2_session*, uint8_t, int32_t, int32_t, int32_t,
                            uint32_t remote_max_frame_size, void*) {
    return static_cast<ssize_t>(remote_max_frame_size);
  }
};

nghttp2_session_callbacks* Session::callbacks() {
  struct Delete {
    void operator()(nghttp2_session_callbacks* made) const { nghttp2_session_callbacks_del(made); }
  };
  static const std::unique_ptr<nghttp2_session_callbacks, Delete> kAll = [] {
    nghttp2_session_callbacks* made = nullptr;
    nghttp2_session_callbacks_new(&made);
    nghttp2_session_callbacks_set_on_begin_frame_callback(made, Callbacks::begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(made, Callbacks::begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(made, Callbacks::header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(made, Callbacks::frame_received);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, Callbacks::data_received);
    nghttp2_session_callbacks_set_on_stream_close_callback(made, Callbacks::stream_closed);
    nghttp2_session_callbacks_set_send_data_callback(made, Callbacks::send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(made, Callbacks::frame_sent);
    nghttp2_session_callbacks_set_data_source_read_length_callback(made, Callbacks::frame_size);
    return std::unique_ptr<nghttp2_session_callbacks, Delete>(made);
  }();
  return kAll.get();
}

}  // namespace pyserver::gateway::h2
