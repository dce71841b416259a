// SPDX-License-Identifier: Apache-2.0
// How the actors of this process are registered, and how they find others.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "actor/election.hpp"
#include "actor/network.hpp"
#include "actor/peer_pool.hpp"
#include "actor/registrar_session.hpp"
#include "actor/supervisor.hpp"
#include "base/unique_function.hpp"

namespace coppice::tree {

/// Every bound of finding actors, in one place.
struct discovery_options {
  election_options election;
  duration connect_within = std::chrono::seconds(1);  // To an actor or a registrar.
  duration answer_within = std::chrono::seconds(3);   // A registrar's answer, connecting included.
  duration listen_within = std::chrono::seconds(1);   // An actor here that is asked to listen.
  duration unregister_within = std::chrono::milliseconds(500);  // At the end of the process.
  duration idle_within = std::chrono::seconds(1);               // A connection that nobody uses.
  int stale_max = 16;  // Entries that nobody answers to and one lookup removes, one after another.
  port::registry_limits registry;
  // Whoever connects to where the registrar was told to listen shows a certificate. Children may
  // have none.
  bool wants_certificates = false;
};

/// What an actor wants to know.
struct lookup {
  enum class what : std::uint8_t { find, wait, query, registry };
  what wanted = what::find;
  std::string name;                                // Or uuid.
  std::vector<msg::wire_address> registrars = {};  // Empty: those that this process has joined.
  bool only_first = true;                          // Else: whom each of the registrars knows.
};

struct lookup_result {
  std::exception_ptr error;
  std::vector<ipc::link_ptr> links;  // find, wait. Kept open until release().
  payload raw;                       // query: addresses or nil; registry: the map.
};

/// Promises:
/// - An actor is registered before its parent hears that it has started, and no longer when that
///   hears of its end. An actor of the registrar's own process opens no listener for it.
/// - What cannot be registered is not started.
/// - A lookup ends within its bounds; waiting for an actor has none but its caller's. A cancelled
///   wait is withdrawn at the registrar.
/// - An entry that nobody answers to is deleted there, and the next one is tried.
/// - The end of this process unregisters its actors, also if it is killed: a Coppice registrar ties
///   them to the connection, a tractor one is told by whoever watches them.
///
/// # Why on the control loop?
/// Starts and ends happen there, and an actor whose code is busy is registered all the same. All
/// actors of a process share one connection to a registrar, so what one hears of is true for all.
///
/// Owner: the process's runtime. Thread: the control loop's, where not said otherwise.
class discovery final : public directory {
 public:
  using lookup_id = std::uint64_t;
  using lookup_done = base::unique_function<void(lookup_result&&)>;
  using listed = std::function<void(std::exception_ptr)>;
  static constexpr lookup_id first_id = 1ull << 62;  // Never the id of a call.

  discovery(std::shared_ptr<core::loop> control, network& net, discovery_options options);
  ~discovery() override;

  // --- any thread ---
  lookup_id new_id() noexcept { return next_id_.fetch_add(1); }
  /// `done` is called on the control loop, once, also after release().
  void start(lookup_id id, port::actor_port_ptr asker, lookup wanted, lookup_done done);
  /// Ends the lookup if it goes on, and lets go of what it found.
  void release(lookup_id id);
  /// An actor of this process is up, or about to be. Before it joins its parent.
  void is_here(const port::actor_port_ptr& actor);

  // --- control loop ---
  /// First: its tasks are `n`'s.
  void open(nursery& n) noexcept { tasks_ = &n; }
  /// Says goodbye to the registrars, within its bound; nothing of it is left then.
  task<> close();

  void hold_election(std::vector<msg::wire_address> at,
                     std::function<void(std::exception_ptr, std::vector<msg::wire_address>)> done);
  /// The root is the registrar, listening at `at`, if anywhere: `done` hears a coppice::error
  /// naming an address where it cannot.
  void open_registrar(const port::actor_port_ptr& root, std::vector<msg::wire_address> at,
                      listed done);
  /// This process's main actor, a root or a process child, is registered at registrars elsewhere,
  /// as are all others from now on.
  void join(const port::actor_port_ptr& main, std::vector<msg::wire_address> at, listed done);
  /// What a process child is told of its tree.
  struct tree_addresses {
    std::vector<msg::wire_address> registrars;  // None: it does without.
    std::vector<msg::wire_address>
        root;               // Of this process's main actor; none: nobody asked it yet.
    std::string registrar;  // Its uuid if it is here.
  };
  void addresses_for_children(std::function<void(tree_addresses)> then,
                              std::function<void(std::exception_ptr)> failed);

  // --- directory: the supervisor's side ---
  void enlist(const uid& who, const std::string& parent, listed done) override;
  void strike_off(const uid& who, bool has_left) override;

 private:
  using session_ptr = std::shared_ptr<registrar_session>;
  struct registrar_place {
    msg::wire_address at;
    session_ptr session;
    bool joined = false;  // Actors of this process are registered there.
  };
  struct running {
    cancel_scope* scope = nullptr;
    bool released = false;
    bool ended = false;
    std::vector<peer_pool::connection_ptr> found;
  };
  struct entry {
    port::actor_port_ptr port;
    msg::wire_address at;
  };

  port::actor_port_ptr actor_here(const std::string& uuid) const;
  session_ptr session_to(registrar_session::dial_function dial);
  session_ptr local_session() const { return registrar_ ? places_.at("").session : nullptr; }
  registrar_place& place_at(const msg::wire_address& at);
  std::vector<registrar_place*> places_of(const lookup& wanted);
  void listen(const port::actor_port_ptr& actor, std::function<void(msg::wire_address)> then,
              std::function<void(std::exception_ptr)> failed);
  void list_registrar(std::vector<msg::wire_address> bound);
  void publish(const std::string& uuid);
  void register_again(const registrar_place& place);
  task<> register_at_all(port::actor_port_ptr who, msg::wire_address at, listed done);
  task<> leave();
  void let_go(lookup_id id);
  task<> look_up(lookup_id id, port::actor_port_ptr asker, lookup wanted,
                 std::shared_ptr<lookup_done> done);
  task<> answer(running* mine, port::actor_port_ptr asker, const lookup* wanted,
                lookup_result* out);
  task<bool> answer_from(running* mine, port::actor_port_ptr asker, const lookup* wanted,
                         registrar_place* place, lookup_result* out);
  task<peer_pool::connection_ptr> try_to_reach(port::actor_port_ptr asker, std::string name,
                                               msg::wire_address at);

  const std::shared_ptr<core::loop> control_;
  network& net_;
  const discovery_options options_;
  peer_pool pool_;
  nursery* tasks_ = nullptr;  // From open() to close().
  std::atomic<lookup_id> next_id_{first_id};

  std::map<std::string, std::weak_ptr<port::actor_port>> here_;  // Actors of this process, by uuid.
  port::actor_port_ptr registrar_;                               // The root, if it is one.
  std::vector<msg::wire_address> bound_;  // Where it listens for those who look for a registrar.
  std::optional<msg::aid> main_;          // In whose name registrars are asked.
  std::map<std::string, registrar_place> places_;  // By address; "" is the registrar here.
  std::map<std::string, entry> listed_;            // By uuid.
  std::map<std::string, uid> listing_;             // Likewise: those whose registration goes on.
  std::map<std::uint64_t, std::unique_ptr<core::alarm>> listening_;  // Actors that are asked to.
  std::map<lookup_id, std::shared_ptr<running>> lookups_;
};

}  // namespace coppice::tree
