// SPDX-License-Identifier: Apache-2.0
// A registrar's six methods, as calls that its peers make: arguments in, answers out.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/unique_function.hpp"
#include "port/registry.hpp"

namespace coppice::port {

/// What makes an actor a registrar: it serves register_actor(uid, addr), unregister_actor(uid),
/// find_actor(name), wait_for_actor(name), get_registry() and delete_addr(addr), as in tractor.
/// Promises:
/// - Every call is answered once, unless its link closes or it is cancelled.
/// - Wrong arguments, and what is beyond a limit, are errors of that call.
/// - An address of this process alone never leaves it: before such an actor is named to somebody
///   outside, it is asked to listen. One that cannot is left out of the answer.
///
/// Two optional arguments are ours; tractor's actors know nothing of them:
/// `register_actor(held=True)` ties the entry to the connection, so that the end of a process,
/// however it comes, unregisters its actors. `find_actor(here=True)` and
/// `wait_for_actor(here=True)` say that the caller is in this process and wants in-process
/// addresses.
///
/// Owner: a call table. Thread: one at a time.
class registrar {
 public:
  /// Asks an actor of this process to listen. published() is then called at the port, once.
  /// Called without any lock.
  using publish_function = std::function<void(const std::string& uuid)>;
  struct refusal {
    std::string type, message;
  };
  struct answer {
    ipc::link_ptr to;
    std::string cid;
    std::variant<payload, refusal> what;
  };
  /// What a call leads to.
  struct outcome {
    std::vector<answer> answers;
    std::vector<std::string> publish;  // For the publish_function.
  };

  explicit registrar(registry_limits limits = {}, publish_function publish = {})
      : table_(limits), publish_(std::move(publish)) {}

  static bool serves(std::string_view method) noexcept;
  /// REQUIRES: serves(call.func).
  void call(const ipc::link_ptr& from, const msg::start& call, outcome& out);
  /// An actor of this process, without a call: the registrar's own has it at hand. What is beyond a
  /// limit is left out.
  void register_here(const uid& who, const msg::wire_address& at, outcome& out);
  void unregister_here(const uid& who) { table_.unregister_actor(who); }
  /// False: there is no such call that waits.
  bool withdraw(const ipc::link_ptr& from, const std::string& cid);
  void closed(const ipc::link_ptr& peer);
  /// None: it has ended, or does not listen.
  void published(const std::string& uuid, const registry::addresses& at, outcome& out);

  const publish_function& publish() const noexcept { return publish_; }
  const registry& table() const noexcept { return table_; }
  void describe(base::tree_writer& w) const { table_.describe(w); }

 private:
  struct question {
    ipc::link_ptr from;
    std::string cid;
    std::string name;                  // Of find_actor and wait_for_actor.
    bool all = false;                  // get_registry.
    bool waits = false;                // Nothing there: it waits, instead of being told so.
    bool here = false;                 // In-process addresses are wanted.
    std::set<std::string> left_out{};  // Those that cannot be asked from outside.
  };

  void register_actor(const ipc::link_ptr& from, const msg::start& call, outcome& out);
  void look_again(std::vector<registry::waiter> woken, outcome& out);
  void look(question q, outcome& out);
  bool can_be_named(registry::addresses& at, question& q, outcome& out);
  void reply(const question& q, payload value, outcome& out);

  registry table_;
  const publish_function publish_;
  std::vector<question> parked_;      // Until those that they ask for listen.
  std::set<std::string> publishing_;  // uuids
};

}  // namespace coppice::port
