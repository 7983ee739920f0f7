// What the clients of a listener are shown and asked: our certificate, perhaps for theirs, and which protocols we speak.
#pragma once

#include <openssl/types.h>

#include <memory>
#include <string>

#include "base/fd.h"
#include "base/status.h"
#include "gateway/socket.h"

namespace pyserver::gateway {

// Files in PEM form.
struct TlsSettings {
  std::string certificate_path;  // ours, and those that lead to its root behind it
  std::string key_path;
  std::string root_path;       // of the certificates that clients must show
  bool verify_client = false;  // mutual TLS
  bool http1 = true;           // offered by ALPN
  bool http2 = true;
};

class TlsContext {
 public:
  // Reads the files. The error says which of them is wrong, and why.
  static base::Status make(const TlsSettings& settings, std::shared_ptr<TlsContext>* context);

  // A client that has just connected. Invalid when OpenSSL has no memory for it.
  Socket accept(base::UniqueFd fd) const;

 private:
  struct Free {
    void operator()(SSL_CTX* context) const;
  };
  TlsContext() = default;
  base::Status load(const TlsSettings& settings);
  base::Status load_roots(const std::string& path);
  static int choose_protocol(SSL* ssl, const unsigned char** chosen, unsigned char* chosen_size,
                             const unsigned char* offered, unsigned int offered_size, void* self);

  std::unique_ptr<SSL_CTX, Free> context_;
  std::string protocols_;  // in ALPN's form, the one we like most first
};

}  // namespace pyserver::gateway
