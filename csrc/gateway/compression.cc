// zlib behind two small classes.
#include "gateway/compression.h"

#include <array>
#include <charconv>

#include "gateway/http_parser.h"

namespace pyserver::gateway {

namespace {

constexpr int kZlibBits = 15;
constexpr int kGzipBits = 15 + 16;
// Answers of inference are numbers: higher levels take several times as long and save little.
constexpr int kLevel = 1;

int window_bits(Encoding encoding) { return encoding == Encoding::kGzip ? kGzipBits : kZlibBits; }

double weight_of(std::string_view parameters) {
  const std::string_view text = trimmed(parameters);
  if (!text.starts_with("q=") && !text.starts_with("Q=")) return 1.0;
  double weight = 0.0;
  const std::string_view number = text.substr(2);
  const auto result = std::from_chars(number.data(), number.data() + number.size(), weight);
  return result.ec == std::errc() ? weight : 0.0;
}

base::Status broken(const z_stream& stream) {
  return base::invalid_argument(std::string("failed to decompress the request body: ") +
                                (stream.msg != nullptr ? stream.msg : "the data is not complete"));
}

}  // namespace

std::string_view encoding_name(Encoding encoding) {
  if (encoding == Encoding::kGzip) return "gzip";
  if (encoding == Encoding::kDeflate) return "deflate";
  return {};
}

Encoding parse_encoding(std::string_view name) {
  // In small letters only, as in Triton.
  if (name.empty() || name == "identity") return Encoding::kIdentity;
  if (name == "gzip") return Encoding::kGzip;
  if (name == "deflate") return Encoding::kDeflate;
  return Encoding::kUnsupported;
}

Encoding choose_encoding(std::string_view accept) {
  Encoding best = Encoding::kIdentity;
  double best_weight = 0.0;
  while (!accept.empty()) {
    const size_t comma = accept.find(',');
    const std::string_view one = accept.substr(0, comma);
    accept = comma == std::string_view::npos ? std::string_view() : accept.substr(comma + 1);
    const size_t semicolon = one.find(';');
    const std::string_view name = trimmed(one.substr(0, semicolon));
    const double weight =
        semicolon == std::string_view::npos ? 1.0 : weight_of(one.substr(semicolon + 1));
    if (name.empty() || weight <= best_weight) continue;
    const Encoding encoding = parse_encoding(name);
    if (encoding == Encoding::kUnsupported) continue;
    best = encoding;
    best_weight = weight;
  }
  return best;
}

void ZlibEnd::operator()(z_stream* stream) const {
  ::inflateEnd(stream);
  delete stream;
}

void Deflater::End::operator()(z_stream* stream) const {
  ::deflateEnd(stream);
  delete stream;
}

Inflater::Inflater(Encoding encoding) : stream_(new z_stream{}) {
  if (::inflateInit2(stream_.get(), window_bits(encoding)) != Z_OK) stream_->state = nullptr;
}

base::Status Inflater::feed(std::span<const uint8_t> input,
                            const std::function<base::Status(std::span<const uint8_t>)>& sink) {
  if (input.empty()) return {};
  fed_ = true;
  stream_->next_in = const_cast<Bytef*>(input.data());  // zlib only reads it
  stream_->avail_in = static_cast<uInt>(input.size());
  std::array<uint8_t, 32768> output;
  bool more = true;
  while (more) {
    if (ended_)
      return base::invalid_argument("failed to decompress the request body: data follows its end");
    stream_->next_out = output.data();
    stream_->avail_out = output.size();
    const int result = ::inflate(stream_.get(), Z_NO_FLUSH);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) return broken(*stream_);
    ended_ = result == Z_STREAM_END;
    const size_t made = output.size() - stream_->avail_out;
    if (made > 0) {
      base::Status status = sink({output.data(), made});
      if (!status.ok()) return status;
    }
    more = stream_->avail_in > 0 || (made == output.size() && !ended_);
    if (result == Z_BUF_ERROR && made == 0) more = false;
  }
  return {};
}

base::Status Inflater::finish() const {
  if (ended_) return {};
  if (!fed_) return base::invalid_argument("nothing to be decompressed");
  return broken(*stream_);
}

Deflater::Deflater(Encoding encoding) : stream_(new z_stream{}) {
  constexpr int kMemory = 8;  // zlib's default
  if (::deflateInit2(stream_.get(), kLevel, Z_DEFLATED, window_bits(encoding), kMemory,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
    stream_->state = nullptr;
  }
}

bool Deflater::feed(std::span<const uint8_t> input, bool last, std::string* out) {
  stream_->next_in = const_cast<Bytef*>(input.data());
  stream_->avail_in = static_cast<uInt>(input.size());
  std::array<char, 32768> output;
  while (true) {
    stream_->next_out = reinterpret_cast<Bytef*>(output.data());
    stream_->avail_out = output.size();
    const int result = ::deflate(stream_.get(), last ? Z_FINISH : Z_NO_FLUSH);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) return false;
    const size_t made = output.size() - stream_->avail_out;
    out->append(output.data(), made);
    if (last ? result == Z_STREAM_END : made < output.size()) return true;
    if (result == Z_BUF_ERROR && made == 0) return !last;
  }
}

}  // namespace pyserver::gateway
