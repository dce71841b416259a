// SPDX-License-Identifier: Apache-2.0
// Listening for actors that connect, on every transport.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/loop.hpp"
#include "ipc/address.hpp"
#include "ipc/limits.hpp"
#include "ipc/link.hpp"
#include "ipc/options.hpp"

namespace coppice::ipc {

/// Listens at an address and gives each connection that shook hands to the sink.
///
/// Promises:
/// - A peer that says nothing, garbage, or too much costs its own connection only, and not for
///   longer than `handshake_within`; beyond `handshakes_max` the one that has been silent for
///   longest goes.
/// - A unix socket is for this user alone (mode 0600), and its peers are asked who they are: those
///   of another user are told so and dropped, unless `other_users` allows them. Its file is removed
///   when the listener closes; one that a killed process left is replaced, one that somebody
///   listens on is not.
/// - Beyond loopback a tcp port without TLS is refused, unless `insecure_tcp` allows it.
///
/// Owner: shared with its pending accept: close() it before its loop's run ends. Thread: its
/// loop's, open() and close() included.
class listener {
 public:
  /// Port 0: any free one, see at(). A host has to be numeric (or "localhost"): a name would have
  /// to be looked up first. Throws coppice::error naming the address if it cannot listen there.
  static std::shared_ptr<listener> open(std::shared_ptr<core::loop> on, const address& at,
                                        msg::aid self, std::shared_ptr<link_sink> sink,
                                        const limits& l, const transport_options& options = {});
  virtual ~listener() = default;
  /// Where it listens, with the port that it got.
  virtual const address& at() const noexcept = 0;
  /// Links that shook hands stay open, the others are dropped.
  virtual void close() noexcept = 0;
};

/// The socket files of processes that were killed: in runtime_directory(), with the pid of a
/// process that is gone in their name, and nobody listening. Sorted; blocks for a look at the
/// directory, and throws if that cannot be had.
std::vector<std::string> dead_sockets();
/// Removes them. Never throws.
void remove_dead_sockets() noexcept;

/// The N of "name@N.sock", the pid of whoever made that socket, or 0.
pid_t pid_in_name(std::string_view file) noexcept;
/// Is it certain that nobody listens there: the file is not there, or the connection is refused?
bool nobody_listens(const std::string& path);

}  // namespace coppice::ipc
