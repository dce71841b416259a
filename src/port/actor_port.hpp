// SPDX-License-Identifier: Apache-2.0
// An actor as the control plane of its own process sees it.
#pragma once

#include <memory>
#include <string>

#include "core/loop.hpp"
#include "port/call_table.hpp"

namespace coppice::ipc {
class listener;
}

namespace coppice::port {

/// The thread-safe face of an actor's port: links deliver to it, supervisors talk through it.
/// There are two kinds: a native actor's, which posts to its loop, and a guest's, which has a
/// mutex.
///
/// Thread: any. Nothing here blocks, runs user code or needs a GIL.
class actor_port : public ipc::link_sink {
 public:
  explicit actor_port(msg::aid self) : self_(std::move(self)) {}

  const msg::aid& self() const noexcept { return self_; }

  /// A child with this uuid is about to connect. `on_connected` is called on the thread that
  /// delivers the link, `on_lost` there or on the port's, both without any lock.
  virtual void adopt(const std::string& uuid, child_watch watch) = 0;
  /// call_table::request() from outside; `on_reply` likewise without any lock.
  virtual void request(ipc::link_ptr to, std::string ns, std::string func, payload kwargs,
                       reply_handler on_reply) = 0;
  /// To the actor's nursery. For `ended`, every request on the child's link is answered first.
  virtual void child_changed(port::child_changed change) = 0;
  /// Asks the whole actor to end.
  virtual void cancel(std::string why) = 0;
  /// call_table's functions of these names. Who never becomes a registrar is no root.
  virtual void become_registrar(registry_limits, registrar::publish_function) {}
  virtual void published(const std::string& uuid, const registry::addresses&) {
    static_cast<void>(uuid);
  }
  /// `lazy`: something else is about to wake this port.
  virtual void register_here(const uid& who, const msg::wire_address&, ipc::urgency) {
    static_cast<void>(who);
  }
  virtual void unregister_here(const uid& who) { static_cast<void>(who); }
  /// Closes every link and completes every wait; the actor's own code is not touched.
  virtual void close(std::string why) = 0;
  /// A guest's: any thread. A native actor's: its loop's, which alone may look at its table.
  virtual void describe(base::tree_writer& w) = 0;
  /// The loop that runs this port and owns its sockets; null: the control loop does.
  virtual std::shared_ptr<core::loop> own_loop() const { return nullptr; }
  /// The actor's listener is open, on its own loop and told there; the actor closes it before that
  /// loop's run ends. One without a loop of its own leaves that to the control loop.
  virtual void listens(std::shared_ptr<ipc::listener> listener) { static_cast<void>(listener); }
  /// No other actor lives in this process: its socket file needs no uuid in its name.
  virtual bool alone_in_process() const { return false; }

 private:
  const msg::aid self_;
};
using actor_port_ptr = std::shared_ptr<actor_port>;

}  // namespace coppice::port
