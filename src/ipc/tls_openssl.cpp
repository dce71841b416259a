// SPDX-License-Identifier: Apache-2.0
// libcoppice_tls.so: TLS by OpenSSL, through memory, so that nothing here knows of sockets or
// loops.
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <stdexcept>
#include <utility>

#include "ipc/tls_library.hpp"

namespace coppice::ipc {

namespace {

struct freer {
  void operator()(SSL_CTX* p) const { ::SSL_CTX_free(p); }
  void operator()(SSL* p) const { ::SSL_free(p); }
};
using ssl_context = std::unique_ptr<SSL_CTX, freer>;

// What OpenSSL's queue of errors says last, which is the most to the point; the queue is empty
// then.
std::string last_error(const std::string& otherwise) {
  std::string text = otherwise;
  while (const unsigned long code = ::ERR_get_error())
    if (const char* reason = ::ERR_reason_error_string(code)) text = reason;
  return text;
}

class session final : public tls_session {
 public:
  // An empty host: we are the server.
  session(SSL_CTX* context, const std::string& host) : ssl_(::SSL_new(context)) {
    if (!ssl_) throw std::bad_alloc();
    ::SSL_set_bio(ssl_.get(), ::BIO_new(::BIO_s_mem()), ::BIO_new(::BIO_s_mem()));
    ::SSL_set_mode(ssl_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (host.empty()) {
      ::SSL_set_accept_state(ssl_.get());
      return;
    }
    ::SSL_set_connect_state(ssl_.get());
    // An address is looked for among the certificate's addresses, a name among its names.
    X509_VERIFY_PARAM* wanted = ::SSL_get0_param(ssl_.get());
    if (::X509_VERIFY_PARAM_set1_ip_asc(wanted, host.c_str()) == 1) return;
    ::ERR_clear_error();
    ::SSL_set_hostflags(ssl_.get(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (::SSL_set1_host(ssl_.get(), host.c_str()) != 1)
      throw std::runtime_error("'" + host + "' is no name to look for in a certificate");
    ::SSL_set_tlsext_host_name(ssl_.get(), host.c_str());
  }

  bool established() const override { return ::SSL_is_init_finished(ssl_.get()) == 1; }

  void received(std::span<const std::byte> network) override {
    ::BIO_write(::SSL_get_rbio(ssl_.get()), network.data(), static_cast<int>(network.size()));
  }

  outcome read(std::span<std::byte> plain, std::size_t& n) override {
    n = 0;
    return judge(::SSL_read_ex(ssl_.get(), plain.data(), plain.size(), &n));
  }
  outcome write(std::span<const std::byte> plain, std::size_t& n) override {
    n = 0;
    return judge(::SSL_write_ex(ssl_.get(), plain.data(), plain.size(), &n));
  }
  void say_goodbye() override {
    if (established()) ::SSL_shutdown(ssl_.get());
    ::ERR_clear_error();
  }

  std::span<const std::byte> outgoing() override {
    char* data = nullptr;
    const long size = ::BIO_get_mem_data(::SSL_get_wbio(ssl_.get()), &data);
    return {reinterpret_cast<const std::byte*>(data), static_cast<std::size_t>(size)};
  }
  void sent(std::size_t n) override {
    char dropped[16 * 1024];
    while (n > 0) {
      const int some = static_cast<int>(std::min(n, sizeof dropped));
      const int got = ::BIO_read(::SSL_get_wbio(ssl_.get()), dropped, some);
      if (got <= 0) return;
      n -= static_cast<std::size_t>(got);
    }
  }
  const std::string& why() const override { return why_; }

 private:
  outcome judge(int status) {
    if (status == 1) return outcome::done;
    switch (::SSL_get_error(ssl_.get(), status)) {
      case SSL_ERROR_WANT_READ:
      case SSL_ERROR_WANT_WRITE:
        return outcome::waits;
      case SSL_ERROR_ZERO_RETURN:
        return outcome::closed;
      default:
        break;
    }
    const std::string reason = last_error("the connection ended");
    const long verdict = ::SSL_get_verify_result(ssl_.get());
    why_ = "TLS: " + reason;
    if (verdict != X509_V_OK)
      why_ += std::string(" (") + ::X509_verify_cert_error_string(verdict) + ")";
    return outcome::failed;
  }

  const std::unique_ptr<SSL, freer> ssl_;
  std::string why_;
};

class context final : public tls_context {
 public:
  explicit context(const tls_options& options)
      : server_name_(options.server_name),
        server_(make(::TLS_server_method(), options)),
        client_(make(::TLS_client_method(), options)) {
    const int wanted = options.clients_need_certificate
                           ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
                           : SSL_VERIFY_NONE;
    ::SSL_CTX_set_verify(server_.get(), wanted, nullptr);
    // One connection is all that two actors need: nothing is resumed.
    ::SSL_CTX_set_session_cache_mode(server_.get(), SSL_SESS_CACHE_OFF);
    ::SSL_CTX_set_num_tickets(server_.get(), 0);
    ::SSL_CTX_set_verify(client_.get(), SSL_VERIFY_PEER, nullptr);
  }

  std::unique_ptr<tls_session> accept() const override {
    return std::make_unique<session>(server_.get(), "");
  }
  std::unique_ptr<tls_session> connect(const std::string& host) const override {
    return std::make_unique<session>(client_.get(), server_name_.empty() ? host : server_name_);
  }

 private:
  static ssl_context make(const SSL_METHOD* method, const tls_options& options) {
    ssl_context made(::SSL_CTX_new(method));
    const auto need = [](bool ok, const std::string& what) {
      if (!ok) throw std::runtime_error(what + ": " + last_error("no reason given"));
    };
    need(made != nullptr, "OpenSSL");
    ::SSL_CTX_set_min_proto_version(made.get(), TLS1_2_VERSION);
    const auto& [certificate, key, ca, name, clients, library] = options;
    if (ca.empty()) throw std::runtime_error("ca_file is needed: whom to believe");
    need(::SSL_CTX_load_verify_locations(made.get(), ca.c_str(), nullptr) == 1, "ca_file " + ca);
    if (certificate.empty() && key.empty()) return made;  // A client that shows none.
    need(::SSL_CTX_use_certificate_chain_file(made.get(), certificate.c_str()) == 1,
         "certificate_file " + certificate);
    need(::SSL_CTX_use_PrivateKey_file(made.get(), key.c_str(), SSL_FILETYPE_PEM) == 1,
         "key_file " + key);
    need(::SSL_CTX_check_private_key(made.get()) == 1, "key_file " + key);
    return made;
  }

  const std::string server_name_;
  const ssl_context server_, client_;
};

}  // namespace

}  // namespace coppice::ipc

extern "C" __attribute__((visibility("default"))) coppice::ipc::tls_context* coppice_make_tls(
    const coppice::ipc::tls_options& options, std::string& why) {
  // Without its exit handler: threads of ours may still be there then.
  ::OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, nullptr);
  try {
    return new coppice::ipc::context(options);  // tidy: allow new: it crosses a C interface
  } catch (const std::exception& e) {
    why = e.what();
    return nullptr;
  }
}
