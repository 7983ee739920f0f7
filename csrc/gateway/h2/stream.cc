// Answers as HEADERS, DATA and trailers.
#include "gateway/h2/stream.h"

#include <utility>

#include "gateway/h2/session.h"

namespace pyserver::gateway::h2 {

namespace {

constexpr size_t kCopiedBytes = 2048;  // a copy of so few costs less than a piece of its own

ssize_t read_answer(nghttp2_session*, int32_t, uint8_t*, size_t length, uint32_t* flags,
                    nghttp2_data_source* source, void*) {
  return static_cast<Stream*>(source->ptr)->ready(length, flags);
}

std::vector<nghttp2_nv> views_of(const std::vector<Field>& fields) {
  std::vector<nghttp2_nv> views;
  views.reserve(fields.size());
  for (const Field& field : fields) views.push_back(field_view(field.name, field.value));
  return views;
}

// Of texts that are never freed, which nghttp2 need not copy.
nghttp2_nv fixed_field(std::string_view name, std::string_view value) {
  nghttp2_nv made = field_view(name, value);
  made.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;
  return made;
}

std::string number_of(protocol::grpc::StatusCode code) {
  return std::to_string(static_cast<int>(code));
}

}  // namespace

nghttp2_nv field_view(std::string_view name, std::string_view value) {
  // nghttp2 copies both; its interface merely lacks const.
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NONE};
}

std::string_view Stream::field(std::string_view name) const {
  for (const Field& field : fields) {
    if (field.name == name) return field.value;
  }
  return {};
}

void Stream::message_came() { incoming.restart(session_->now_s()); }

void Stream::consume(size_t bytes) {
  if (bytes == 0 || session_->closed()) return;
  nghttp2_session_consume_stream(session_->session(), id_, bytes);
  session_->want_flush();
}

void Stream::submit_head(std::span<const nghttp2_nv> head) {
  begun_ = true;
  nghttp2_data_provider provider{};
  provider.source.ptr = this;
  provider.read_callback = read_answer;
  nghttp2_submit_response(session_->session(), id_, head.data(), head.size(), &provider);
  session_->want_flush();
}

void Stream::begin(const std::vector<Field>& head) {
  if (!begun_ && !finished_) submit_head(views_of(head));
}

void Stream::begin_usual() {
  const nghttp2_nv head[] = {
      fixed_field(":status", "200"),
      fixed_field("content-type", "application/grpc"),
      fixed_field("grpc-accept-encoding", "identity, deflate, gzip"),
      fixed_field("grpc-encoding", encoding_name(encoding_)),
  };
  submit_head(std::span(head).first(encoding_ == Encoding::kIdentity ? 3 : 4));
}

void Stream::compress(Encoding encoding) {
  encoding_ = encoding;
  compressor_ = std::make_unique<MessageCompressor>(
      session_->loop(), encoding,
      [this](std::shared_ptr<const Chunk> chunk) { queue(std::move(chunk)); });
}

void Stream::send(std::shared_ptr<const Chunk> chunk) {
  if (finished()) return;
  if (compressor_ != nullptr) {
    compressor_->send(std::move(chunk));
  } else {
    queue(std::move(chunk));
  }
}

void Stream::queue(std::shared_ptr<const Chunk> chunk) {
  if (!begun_) begin_usual();
  queued_bytes_ += chunk->byte_size();
  queue_.push_back(std::move(chunk));
  if (std::exchange(deferred_, false)) nghttp2_session_resume_data(session_->session(), id_);
  session_->want_flush();
}

void Stream::end(std::vector<Field> trailers) {
  if (finished()) return;
  ending_ = true;
  if (compressor_ == nullptr) {
    end_now(std::move(trailers));
    return;
  }
  compressor_->end(
      [this, trailers = std::move(trailers)]() mutable { end_now(std::move(trailers)); });
}

void Stream::end_now(std::vector<Field> trailers) {
  finished_ = true;
  trailers_ = std::move(trailers);
  if (!begun_) {
    begun_ = true;
    const std::vector<nghttp2_nv> head = views_of(trailers_);
    nghttp2_submit_response(session_->session(), id_, head.data(), head.size(), nullptr);
  } else if (std::exchange(deferred_, false)) {
    nghttp2_session_resume_data(session_->session(), id_);
  }
  session_->want_flush();
}

void Stream::finish(protocol::grpc::StatusCode code, std::string_view message) {
  if (finished()) return;
  std::vector<Field> trailers;
  ok_ = begun_ && code == protocol::grpc::StatusCode::kOk;
  if (ok_) {
    end({});
    return;
  }
  if (!begun_ && (compressor_ == nullptr || compressor_->waiting_bytes() == 0)) {
    trailers.push_back({":status", "200"});
    trailers.push_back({"content-type", "application/grpc"});
    trailers.push_back({"grpc-accept-encoding", "identity, deflate, gzip"});
  }
  trailers.push_back({"grpc-status", number_of(code)});
  if (!message.empty())
    trailers.push_back({"grpc-message", protocol::grpc::percent_encode(message)});
  end(std::move(trailers));
}

void Stream::refuse(std::string_view http_status) {
  if (!begun_) end({{":status", std::string(http_status)}});
}

void Stream::reset(uint32_t error_code) {
  finished_ = true;
  if (compressor_ != nullptr) compressor_->clear();
  if (session_->closed()) return;
  nghttp2_submit_rst_stream(session_->session(), NGHTTP2_FLAG_NONE, id_, error_code);
  session_->want_flush();
}

ssize_t Stream::ready(size_t length, uint32_t* flags) {
  if (queued_bytes_ == 0 && !finished_) {
    deferred_ = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  const size_t size = std::min(length, queued_bytes_);
  if (size == queued_bytes_ && finished_) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (submit_trailers()) *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
  }
  return static_cast<ssize_t>(size);
}

bool Stream::submit_trailers() {
  if (ok_) {  // nearly always
    const nghttp2_nv ok = fixed_field("grpc-status", "0");
    nghttp2_submit_trailer(session_->session(), id_, &ok, 1);
    return true;
  }
  if (trailers_.empty()) return false;
  const std::vector<nghttp2_nv> views = views_of(trailers_);
  nghttp2_submit_trailer(session_->session(), id_, views.data(), views.size());
  return true;
}

void Stream::pop_chunk() {
  constexpr size_t kTidyAt = 256;
  queue_[first_++].reset();
  span_ = 0;
  if (first_ == queue_.size()) {
    queue_.clear();
    first_ = 0;
  } else if (first_ >= kTidyAt && 2 * first_ >= queue_.size()) {
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<ptrdiff_t>(first_));
    first_ = 0;
  }
}

void Stream::write_to(Outbox* outbox, size_t length) {
  queued_bytes_ -= length;
  const size_t taken = length;
  while (length > 0 || (queued_chunks_left() > 0 && span_ == queue_[first_]->spans.size())) {
    const std::shared_ptr<const Chunk>& chunk = queue_[first_];
    if (span_ == chunk->spans.size()) {
      pop_chunk();
      continue;
    }
    const std::span<const uint8_t> rest = chunk->spans[span_].subspan(span_offset_);
    const size_t step = std::min(rest.size(), length);
    if (step <= kCopiedBytes) {
      outbox->append(rest.data(), step);
    } else {
      outbox->refer(rest.first(step), chunk);
    }
    length -= step;
    span_offset_ += step;
    if (span_offset_ == chunk->spans[span_].size()) {
      ++span_;
      span_offset_ = 0;
    }
  }
  if (call != nullptr) call->drained(taken);
}

}  // namespace pyserver::gateway::h2
