// SPDX-License-Identifier: Apache-2.0
// What finding other actors needs of the process's runtime: listening and connecting.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "ipc/link.hpp"
#include "port/actor_port.hpp"

namespace coppice::tree {

/// Owner: the process's runtime. Thread: the control loop's; what is passed is called there.
class network {
 public:
  virtual ~network() = default;
  /// The actor listens, if it did not before: told where, or why not.
  virtual void listen(port::actor_port_ptr actor, std::function<void(msg::wire_address)> then,
                      std::function<void(std::exception_ptr)> failed) = 0;
  /// It listens here besides, until it ends. Where that is, with the port that it got. Throws
  /// coppice::error naming the address.
  virtual msg::wire_address listen_at(port::actor_port_ptr actor, const msg::wire_address& at) = 0;
  /// Connects within `within`, and shakes hands within as long again, on the control loop. `done`
  /// is told once: the link, which the sink knows by then, or why there is none.
  virtual void connect(const msg::wire_address& to, const msg::aid& self,
                       std::shared_ptr<ipc::link_sink> sink, duration within,
                       std::function<void(std::exception_ptr, ipc::link_ptr)> done) = 0;
  /// The actor of this process that listens there, by its uuid.
  virtual std::optional<std::string> uuid_at(const msg::wire_address& at) const = 0;
};

}  // namespace coppice::tree
