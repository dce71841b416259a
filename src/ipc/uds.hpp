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

/// Listens on a unix socket and gives each connection that shook hands to the sink. Promises: a peer
/// that says nothing, garbage, or too much costs its own connection only, and not for longer than
/// `handshake_within`; the socket file is removed when the listener closes.
///
/// Owner: shared with its pending accept. Thread: its loop's, open() and close() included.
class uds_listener {
 public:
  /// Throws coppice::error naming the path if it cannot listen there.
  static std::shared_ptr<uds_listener> open(std::shared_ptr<core::loop> on, address at,
                                            msg::aid self, std::shared_ptr<link_sink> sink,
                                            limits l);
  virtual ~uds_listener() = default;
  virtual const address& at() const noexcept = 0;
  virtual void close() noexcept = 0;  // Links that were accepted stay open.
};

/// Connects to a listener and shakes hands. The sink gets on_connected() on success; `done` gets null
/// then, and otherwise why not: transport_closed (nobody listens there), timeout_error (silent for
/// `handshake_within`), protocol_error. On `on`'s thread; `done` is called there too, exactly once.
void connect_uds(std::shared_ptr<core::loop> on, const address& to, msg::aid self,
                 std::shared_ptr<link_sink> sink, limits l,
                 std::function<void(std::exception_ptr, link_ptr)> done);

}  // namespace coppice::ipc
