// SPDX-License-Identifier: Apache-2.0
// Connections of this process's actors to actors that they found: one per pair, closed when unused.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "actor/network.hpp"
#include "coppice/task.hpp"
#include "core/alarm.hpp"
#include "core/loop.hpp"

namespace coppice::tree {

/// Promises:
/// - An actor has one connection to an address, however often it looks there up.
/// - It closes when nobody has used it for `idle_within`, and is dropped when its peer closes.
/// - An actor of this process is joined by memory, whatever its address says.
///
/// Owner: discovery. Thread: the control loop's.
class peer_pool {
 public:
  struct connection;
  using connection_ptr = std::shared_ptr<connection>;  // Shared with its sink.
  /// The actor of this process with this uuid, or null.
  using local_function = std::function<port::actor_port_ptr(const std::string& uuid)>;

  peer_pool(std::shared_ptr<core::loop> control, network& net, local_function local,
            duration connect_within, duration idle_within);
  ~peer_pool();

  /// To be given back by release(). Throws what network::connect() says.
  task<connection_ptr> connect(port::actor_port_ptr asker, msg::wire_address to);
  void release(const connection_ptr& c);
  static const ipc::link_ptr& link_of(const connection_ptr& c);
  /// An actor of this process has ended.
  void drop(const std::string& uuid);
  void close();

 private:
  using key = std::pair<std::string, std::string>;  // The asker's uuid, the address.
  class forwarder;

  void dial(const connection_ptr& c, const port::actor_port_ptr& asker,
            const msg::wire_address& to);
  void settled(const connection_ptr& c, std::exception_ptr e, ipc::link_ptr l);
  void close_when_idle(const connection_ptr& c);
  void lost(const connection_ptr& c);

  const std::shared_ptr<core::loop> control_;
  network& net_;
  const local_function local_;
  const duration connect_within_, idle_within_;
  std::map<key, connection_ptr> open_;
};

}  // namespace coppice::tree
