// SPDX-License-Identifier: Apache-2.0
// Where the actors of this process listen.
#pragma once

#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/loop.hpp"
#include "ipc/listener.hpp"
#include "port/actor_port.hpp"

namespace coppice::tree {

/// Opens the listeners of actors, several for one if need be, each on the loop that runs its actor:
/// a native actor's own, the control loop for guests. The actor closes those on its own loop (see
/// actor_port::listens), this table the others.
///
/// Owner: the runtime. Thread: the control loop's, on which `done` is called, perhaps before the
/// call returns.
class listener_table {
 public:
  /// Null and the addresses, with the ports that they got; or why there are none.
  using bind_done = std::function<void(std::exception_ptr, std::vector<ipc::address>)>;

  listener_table(std::shared_ptr<core::loop> control, const ipc::limits& l,
                 const ipc::transport_options& options)
      : control_(std::move(control)), limits_(l), options_(options) {}

  /// Listens at all of them, or at none: then `done` hears why. Where the actor listens already is
  /// left as it is.
  void bind(const port::actor_port_ptr& port, std::vector<ipc::address> wanted, bind_done done);
  /// One address of that transport for processes on this host: a socket file, or a free port of
  /// 127.0.0.1; opened on first use (a socket file that is there already will do). Without TLS: a
  /// process that this one starts has no certificate.
  void reach(const port::actor_port_ptr& port, ipc::transport by, bind_done done);
  /// In the order of their opening.
  std::vector<ipc::address> addresses_of(const std::string& uuid) const;
  /// The actor that listens there.
  std::optional<std::string> uuid_at(const msg::wire_address& at) const;

  /// The actor has ended: whoever still waits for an address of it hears so.
  void ended(const std::string& uuid);
  /// The control loop ends.
  void close();

 private:
  struct opening {   // Shared by the list below and the work on another loop.
    bind_done done;  // Empty once it was called.
    std::vector<std::shared_ptr<ipc::listener>> made;
    std::exception_ptr error;
  };
  struct listening {
    std::shared_ptr<core::loop> on;
    std::vector<std::shared_ptr<ipc::listener>> open;
    std::vector<std::shared_ptr<opening>> under_way;
    std::map<ipc::transport, ipc::address> reachable;          // By reach().
    std::map<ipc::transport, std::vector<bind_done>> waiting;  // For reach(), while it opens.
  };
  // Called on the actor's loop: making a socket's name looks at the disk.
  using choice = std::function<std::vector<ipc::address>()>;

  listening& entry_of(const port::actor_port_ptr& port);
  void open(const port::actor_port_ptr& port, choice wanted, ipc::transport_options options,
            bind_done done);
  void opened(const std::string& uuid, const std::shared_ptr<opening>& what);

  const std::shared_ptr<core::loop> control_;
  const ipc::limits limits_;
  const ipc::transport_options options_;
  std::map<std::string, listening> actors_;  // By uuid.
};

}  // namespace coppice::tree
