// SPDX-License-Identifier: Apache-2.0
// What finding other actors needs of the process's runtime: listening and connecting.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

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
  /// It listens at all of these besides, until it ends, or at none: `done` is told where that is,
  /// with the ports that it got, or a coppice::error naming the address.
  virtual void listen_at(
      port::actor_port_ptr actor, std::vector<msg::wire_address> at,
      std::function<void(std::exception_ptr, std::vector<msg::wire_address>)> done) = 0;
  /// Connects within `within`, and shakes hands within as long again, on the control loop. `done`
  /// is told once: the link, which the sink knows by then, or why there is none.
  virtual void connect(const msg::wire_address& to, const msg::aid& self,
                       std::shared_ptr<ipc::link_sink> sink, duration within,
                       std::function<void(std::exception_ptr, ipc::link_ptr)> done) = 0;
  /// The actor of this process that listens there, by its uuid.
  virtual std::optional<std::string> uuid_at(const msg::wire_address& at) const = 0;
};

}  // namespace coppice::tree
