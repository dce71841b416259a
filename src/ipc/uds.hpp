// SPDX-License-Identifier: Apache-2.0
// Unix sockets: listening, connecting, the handshake, and links over them.
#pragma once

#include <functional>
#include <memory>

#include "core/loop.hpp"
#include "ipc/address.hpp"
#include "ipc/limits.hpp"
#include "ipc/link.hpp"

namespace coppice::ipc {

/// Listens on a unix socket and gives each connection that shook hands to the sink. Promises: a
/// peer that says nothing, garbage, or too much costs its own connection only, and not for longer
/// than `handshake_within`; beyond `handshakes_max` the one that has been silent for longest goes;
/// the socket file is removed when the listener closes.
///
/// Owner: shared with its pending accept: close() it before its loop's run ends. Thread: its
/// loop's, open() and close() included.
class uds_listener {
 public:
  /// Throws coppice::error naming the path if it cannot listen there.
  static std::shared_ptr<uds_listener> open(std::shared_ptr<core::loop> on, address at,
                                            msg::aid self, std::shared_ptr<link_sink> sink,
                                            limits l);
  virtual ~uds_listener() = default;
  virtual const address& at() const noexcept = 0;
  /// Links that shook hands stay open, the others are dropped.
  virtual void close() noexcept = 0;
};

/// Connects to a listener and shakes hands. The sink gets on_connected() on success; `done` gets
/// null then, and otherwise why not: transport_closed (nobody listens there), timeout_error (silent
/// for `handshake_within`), protocol_error. On `on`'s thread; `done` is called there too, exactly
/// once, perhaps before this returns. Gives the link that shakes hands, for close() by who does not
/// want to wait any more, or null.
link_ptr connect_uds(std::shared_ptr<core::loop> on, const address& to, msg::aid self,
                     std::shared_ptr<link_sink> sink, limits l,
                     std::function<void(std::exception_ptr, link_ptr)> done);

/// Removes the socket files of processes that were killed: in runtime_directory(), with the pid of
/// a process that is gone in their name, and nobody listening. Never throws; blocks for a look at
/// the directory.
void remove_dead_sockets() noexcept;

}  // namespace coppice::ipc
