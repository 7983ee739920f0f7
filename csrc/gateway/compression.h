// gzip and deflate (zlib's wrapper) for bodies, and how they are negotiated. No I/O.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace pyserver::gateway {

enum class Encoding : uint8_t { kIdentity, kDeflate, kGzip, kUnsupported };

std::string_view encoding_name(Encoding encoding);  // empty for identity

// Of a request's Content-Encoding.
Encoding parse_encoding(std::string_view name);
// Of a request's Accept-Encoding: the first of those we know with strictly the highest weight, as Triton chooses.
Encoding choose_encoding(std::string_view accept);

struct ZlibEnd {
  void operator()(z_stream* stream) const;
};

// Undoes the encoding piece by piece, so that a small body cannot become a large one unseen.
class Inflater {
 public:
  explicit Inflater(Encoding encoding);
  // Calls `sink` with what comes out; an error of the sink stops it.
  base::Status feed(std::span<const uint8_t> input,
                    const std::function<base::Status(std::span<const uint8_t>)>& sink);
  // After the last piece: was that the whole of it?
  base::Status finish() const;

 private:
  std::unique_ptr<z_stream, ZlibEnd> stream_;
  bool ended_ = false;
  bool fed_ = false;
};

// Compresses piece by piece into a text.
class Deflater {
 public:
  explicit Deflater(Encoding encoding);
  // Appends to *out; `last` ends the stream. False: zlib refuses (out of memory).
  bool feed(std::span<const uint8_t> input, bool last, std::string* out);

 private:
  struct End {
    void operator()(z_stream* stream) const;
  };
  std::unique_ptr<z_stream, End> stream_;
};

}  // namespace pyserver::gateway
