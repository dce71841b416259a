// SPDX-License-Identifier: Apache-2.0
// Stream sockets of every kind: addresses as the kernel has them, and what is set on each.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "ipc/address.hpp"
#include "ipc/limits.hpp"
#include "ipc/options.hpp"
#include "ipc/stream.hpp"

namespace coppice::ipc {

using socket_protocol = boost::asio::generic::stream_protocol;
using socket = socket_protocol::socket;
using endpoint = socket_protocol::endpoint;

/// The kernel's form of an address that needs no look-up: a path, a numeric host, or "localhost",
/// which is 127.0.0.1. Nothing: the host is a name. Throws coppice::error for a path that is too
/// long.
std::optional<endpoint> endpoint_of(const address& at);
/// The port that the kernel gave, with the host that was asked for.
address address_of(int fd, const address& asked);

/// Blocks, for as long as the resolver likes. Throws coppice::error that names the host.
std::vector<endpoint> look_up(const msg::tcp_address& at);

/// A socket for such an endpoint: close-on-exec, non-blocking. Throws std::system_error.
base::unique_fd open_socket(const endpoint& to);

/// Why a tcp endpoint must not be used: it is beyond loopback and nothing protects what is said
/// there. Nothing: it may be.
std::optional<std::string> exposure(const endpoint& at, const transport_options& options);

/// Why the process at the other end of a unix socket must not be talked to: it is another user's.
std::optional<std::string> stranger(int fd, const transport_options& options);

/// The stream over a connected socket; sets what tcp needs. `session`: it goes through TLS.
stream_ptr make_stream(socket connected, const limits& l,
                       std::unique_ptr<tls_session> session = nullptr);

}  // namespace coppice::ipc
