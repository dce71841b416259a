// SPDX-License-Identifier: Apache-2.0
// TLS: what a process shows of itself, and whom it believes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace coppice::ipc {

/// Files are PEM. Both sides show a certificate and look at the other's: who connects looks for the
/// host's name in it, who listens wants one that `ca_file` has signed.
struct tls_options {
  std::string certificate_file = {};  // Ours, and the chain above it.
  std::string key_file = {};
  std::string ca_file = {};  // Who signs the certificates of the peers that we believe.
  // To be found in a server's certificate; empty: the host connected to.
  std::string server_name = {};
  bool clients_need_certificate = true;
  std::string library = {};  // Of TLS; empty: libcoppice_tls.so beside ours.
};

/// One conversation, without a socket: bytes of the network in and out, plain ones out and in. A
/// pure interface, implemented in libcoppice_tls.so, which uses nothing of ours.
class tls_session {
 public:
  enum class outcome : std::uint8_t {
    done,
    waits,   // For bytes of the network.
    closed,  // The peer says goodbye.
    failed,  // See why().
  };
  virtual ~tls_session() = default;
  virtual bool established() const = 0;
  virtual void received(std::span<const std::byte> network) = 0;
  virtual outcome read(std::span<std::byte> plain, std::size_t& n) = 0;
  virtual outcome write(std::span<const std::byte> plain, std::size_t& n) = 0;
  virtual void say_goodbye() = 0;
  /// What has to go to the network, until the next call of anything here; and: it has.
  virtual std::span<const std::byte> outgoing() = 0;
  virtual void sent(std::size_t n) = 0;
  virtual const std::string& why() const = 0;
};

/// Certificates and rules, read once. Shared by all connections. Thread: any.
class tls_context {
 public:
  virtual ~tls_context() = default;
  virtual std::unique_ptr<tls_session> accept() const = 0;
  virtual std::unique_ptr<tls_session> connect(const std::string& host) const = 0;
};
using tls_context_ptr = std::shared_ptr<const tls_context>;  // Options hold it, connections use it.

/// Loads the library of TLS at its first use, and the files. Throws coppice::error with a sentence:
/// no library, a file that is missing or wrong, a key that is not the certificate's.
tls_context_ptr load_tls(const tls_options& options);

}  // namespace coppice::ipc
