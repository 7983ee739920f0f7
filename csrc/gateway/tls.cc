// OpenSSL's context for our listeners.
#include "gateway/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <string_view>
#include <utility>

namespace pyserver::gateway {

namespace {

// Of TLS 1.2 only those that HTTP/2 allows (RFC 9113, appendix A lists the others); TLS 1.3 has no bad ones.
constexpr const char* kCiphers = "ECDHE+AESGCM:ECDHE+CHACHA20";
constexpr unsigned char kSessionContext[] = "pyserver";

// A key with a passphrase must not make a server ask its terminal.
int no_passphrase(char*, int, int, void*) { return 0; }

base::Status refused(std::string_view what, const std::string& path) {
  const unsigned long error = ERR_peek_last_error();
  const char* const reason = ERR_reason_error_string(error);
  ERR_clear_error();
  return base::invalid_argument("cannot use '" + path + "' as " + std::string(what) + ": " +
                                (reason != nullptr ? reason : "it cannot be read"));
}

}  // namespace

void TlsContext::Free::operator()(SSL_CTX* context) const { SSL_CTX_free(context); }

base::Status TlsContext::make(const TlsSettings& settings, std::shared_ptr<TlsContext>* context) {
  std::shared_ptr<TlsContext> made(new TlsContext);
  base::Status status = made->load(settings);
  if (status.ok()) *context = std::move(made);
  return status;
}

base::Status TlsContext::load(const TlsSettings& settings) {
  ERR_clear_error();
  context_.reset(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* const context = context_.get();
  if (context == nullptr || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
      SSL_CTX_set_cipher_list(context, kCiphers) != 1) {
    return base::internal_error("OpenSSL cannot be set up");
  }
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
  // An idle connection keeps no buffers; and what a full socket did not take may be offered again from elsewhere (Socket::send).
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_id_context(context, kSessionContext, sizeof kSessionContext - 1);
  SSL_CTX_set_default_passwd_cb(context, no_passphrase);
  if (SSL_CTX_use_certificate_chain_file(context, settings.certificate_path.c_str()) != 1)
    return refused("the server's certificate", settings.certificate_path);
  if (SSL_CTX_use_PrivateKey_file(context, settings.key_path.c_str(), SSL_FILETYPE_PEM) != 1)
    return refused("the server's key", settings.key_path);
  if (settings.verify_client) {
    base::Status status = load_roots(settings.root_path);
    if (!status.ok()) return status;
  }
  if (settings.http2) protocols_.append("\x02h2");
  if (settings.http1) protocols_.append("\x08http/1.1");
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, this);
  return {};
}

base::Status TlsContext::load_roots(const std::string& path) {
  SSL_CTX* const context = context_.get();
  STACK_OF(X509_NAME)* const names = SSL_load_client_CA_file(path.c_str());
  if (names == nullptr || SSL_CTX_load_verify_file(context, path.c_str()) != 1) {
    sk_X509_NAME_pop_free(names, X509_NAME_free);
    return refused("the root certificate", path);
  }
  SSL_CTX_set_client_CA_list(context, names);  // takes them
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return {};
}

// A client that offers protocols must offer one of ours; one that offers none shows by its first bytes what it speaks.
int TlsContext::choose_protocol(SSL*, const unsigned char** chosen, unsigned char* chosen_size,
                                const unsigned char* offered, unsigned int offered_size,
                                void* self) {
  const std::string& ours = static_cast<const TlsContext*>(self)->protocols_;
  unsigned char* found = nullptr;
  const int result = SSL_select_next_proto(
      &found, chosen_size, reinterpret_cast<const unsigned char*>(ours.data()),
      static_cast<unsigned int>(ours.size()), offered, offered_size);
  *chosen = found;
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

Socket TlsContext::accept(base::UniqueFd fd) const {
  SSL* const ssl = SSL_new(context_.get());
  if (ssl == nullptr) {
    ERR_clear_error();
    return {};
  }
  return {std::move(fd), ssl};
}

}  // namespace pyserver::gateway
