// SPDX-License-Identifier: Apache-2.0
// A registrar's table: which actors there are, and where they listen. No threads, no I/O.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/describe.hpp"
#include "coppice/errors.hpp"
#include "ipc/link.hpp"
#include "msg/messages.hpp"

namespace coppice::port {

/// An actor of the registrar's own process is registered without a listener, under an address that
/// means something in this process only: no directory, and its uuid as the file. Such an address
/// never leaves the process.
msg::wire_address in_process_address(const std::string& uuid);
/// The uuid of such an address, or null.
const std::string* in_process_uuid(const msg::wire_address& at) noexcept;

struct registry_limits {
  std::size_t actors_max = 100'000;
  std::size_t addresses_per_actor_max = 16;
  std::size_t waiters_per_peer_max = 1'000;
  std::size_t text_bytes_max = 4'096;  // Of a name, a uuid, and each part of an address.
};

/// Actors by name and uuid, with their addresses, and who waits for a name. Promises:
/// - An address belongs to one actor: who registers it takes it from whoever had it.
/// - A name belongs to any number of actors; the one that was registered last is found.
/// - Who waits for a name is told by the registration that brings it, and is never polled for.
/// - What was registered to be held by a link is gone with that link; so is whoever waits there.
///
/// Nothing is authenticated, as in tractor, whose actors register over a fresh connection: any peer
/// may register, unregister or delete anybody.
///
/// Owner: a registrar's port. Thread: one at a time.
class registry {
 public:
  using addresses = std::vector<msg::wire_address>;
  struct waiter {
    ipc::link_ptr peer;
    std::string cid;
    std::string name;   // Or uuid.
    bool here = false;  // Its owner's business.
  };

  explicit registry(registry_limits limits = {}) : limits_(limits) {}

  /// Adds an address to an actor, and the actor if it is new. With `holder`, the actor is dropped
  /// when that link closes; the last registration decides who holds it. Gives those who waited for
  /// its name or uuid: each is to look again. Throws limit_exceeded.
  std::vector<waiter> register_actor(const uid& who, const msg::wire_address& at,
                                     const ipc::link* holder = nullptr);
  /// Whoever is registered at `known`, if anybody, listens at `at` too. Throws limit_exceeded.
  void add_address(const msg::wire_address& known, const msg::wire_address& at);
  void unregister_actor(const uid& who);
  /// The addresses of the actor with this name, or this uuid, in the order of their registration.
  /// Of several, those of the one that was registered last: all addresses are of one actor, since
  /// tractor's actors take whichever they like best.
  std::optional<addresses> find_actor(std::string_view name_or_uuid) const;
  /// "name.uuid" and addresses, in the order of registration. Who has dots in its name has them in
  /// the key.
  std::vector<std::pair<std::string, addresses>> all() const;
  /// Nobody listens there: whose it was. An actor without an address left is dropped.
  std::optional<uid> delete_addr(const msg::wire_address& at);

  /// Until register_actor(), withdraw() or closed(). Throws limit_exceeded.
  void wait_for(waiter w);
  /// False: it does not wait.
  bool withdraw(const ipc::link* peer, const std::string& cid);
  void closed(const ipc::link* peer);

  std::size_t size() const noexcept { return entries_.size(); }
  std::size_t waiting() const noexcept;
  void describe(base::tree_writer& w) const;

 private:
  using number = std::uint64_t;  // Higher: registered later.
  struct entry {
    uid who;
    addresses at;
    const ipc::link* holder = nullptr;
  };

  entry* find(const uid& who, number& n);
  void hold(entry& e, number n, const ipc::link* holder);
  void add(entry& e, number n, const msg::wire_address& at);
  void take_from(number n, const msg::wire_address& at);
  void drop(number n);
  std::vector<waiter> wake(const std::string& name_or_uuid);
  void check_texts(const uid& who, const msg::wire_address& at) const;

  const registry_limits limits_;
  number last_ = 0;
  std::map<number, entry> entries_;
  std::unordered_map<std::string, std::set<number>> by_name_;  // And by uuid.
  std::unordered_map<std::string, number> by_address_;
  std::unordered_map<const ipc::link*, std::set<number>> held_by_;
  std::map<std::string, std::vector<waiter>> waiters_;  // By name or uuid.
  std::unordered_map<const ipc::link*, std::map<std::string, std::string>> waits_of_;  // cid: name
};

}  // namespace coppice::port
