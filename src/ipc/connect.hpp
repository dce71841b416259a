// SPDX-License-Identifier: Apache-2.0
// Connecting to an actor that listens, on every transport.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <string>

#include "core/loop.hpp"
#include "ipc/address.hpp"
#include "ipc/limits.hpp"
#include "ipc/link.hpp"
#include "ipc/options.hpp"

namespace coppice::ipc {

/// A connect() under way. Dropping it changes nothing; who runs a loop cancels its attempts before
/// the run ends. Thread: its loop's.
class attempt {
 public:
  virtual ~attempt() = default;
  /// `done` is told transport_closed with this reason, at once, if it has not been told yet.
  virtual void cancel(const std::string& why) = 0;
};
using attempt_ptr = std::shared_ptr<attempt>;  // Shared with what it waits for.

/// Null and the link, or why there is none.
using connect_done = std::function<void(std::exception_ptr, link_ptr)>;

/// Connects to a listener and shakes hands. The sink gets on_connected() on success; `done` gets
/// the link then, and otherwise why not:
/// - transport_closed: nobody listens there, the host has no address, the peer is another user's,
///   the host is beyond loopback and nothing protects what is said there, it was cancelled;
/// - timeout_error: no connection within `connect_within`, or silent for `handshake_within`;
/// - protocol_error: who listens is no actor.
///
/// A host name is looked up on a thread of its own (`coppice-names`), and its addresses are tried
/// in turn. On `on`'s thread; `done` is called there too, exactly once, perhaps before this
/// returns.
attempt_ptr connect(std::shared_ptr<core::loop> on, const address& to, const msg::aid& self,
                    std::shared_ptr<link_sink> sink, const limits& l,
                    const transport_options& options, connect_done done);

}  // namespace coppice::ipc
