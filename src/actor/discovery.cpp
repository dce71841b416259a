// SPDX-License-Identifier: Apache-2.0
#include "actor/discovery.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/uuid.hpp"
#include "coppice/cancel_scope.hpp"
#include "coppice/kw.hpp"
#include "coppice/nursery.hpp"
#include "coppice/time.hpp"
#include "core/one_shot.hpp"
#include "ipc/memory_link.hpp"

namespace coppice::tree {

using addresses = std::vector<msg::wire_address>;

namespace {

bool is_coppice(const ipc::link& l) { return l.peer().extensions.has_value(); }
uid uid_of(const msg::aid& a) { return {a.name, a.uuid}; }

// What only a Coppice registrar knows is said to no other.
registrar_session::arguments name_of(std::string name) {
  return [name = std::move(name)](const ipc::link& to) {
    return to.is_local() ? to_kwargs(kw("name", name), kw("here", true))
                         : to_kwargs(kw("name", name));
  };
}
registrar_session::arguments entry_of(uid who, msg::wire_address at) {
  return [who = std::move(who), at = std::move(at)](const ipc::link& to) {
    return is_coppice(to) ? to_kwargs(kw("uid", who), kw("addr", at), kw("held", true))
                          : to_kwargs(kw("uid", who), kw("addr", at));
  };
}
registrar_session::arguments uid_argument(uid who) {
  return [who = std::move(who)](const ipc::link&) { return to_kwargs(kw("uid", who)); };
}
registrar_session::arguments address_argument(msg::wire_address at) {
  return [at = std::move(at)](const ipc::link&) { return to_kwargs(kw("addr", at)); };
}
registrar_session::arguments plain_name(std::string name) {
  return [name = std::move(name)](const ipc::link&) { return to_kwargs(kw("name", name)); };
}
registrar_session::arguments no_arguments() {
  return [](const ipc::link&) { return to_kwargs(); };
}

/// The nearer, the better; among equals the one that was registered last.
int distance(const msg::wire_address& at) {
  if (port::in_process_uuid(at)) return 0;
  const auto* tcp = std::get_if<msg::tcp_address>(&at);
  if (!tcp) return 1;
  return tcp->host.starts_with("127.") || tcp->host == "::1" || tcp->host == "localhost" ? 2 : 3;
}
addresses nearest_first(const addresses& at) {
  addresses out;
  for (int tier = 0; tier <= 3; ++tier)
    for (auto one = at.rbegin(); one != at.rend(); ++one)
      if (distance(*one) == tier) out.push_back(*one);
  return out;
}

/// What the registrar said, or the error that it could not be asked.
payload value_of(port::reply&& r, const std::string& where) {
  if (r.how == port::reply::kind::value) return std::move(r.value);
  if (r.how == port::reply::kind::error)
    std::rethrow_exception(r.to_exception("registrar at " + where));
  throw transport_closed(fmt::format("the registrar at {} cannot be asked: {}", where, r.why));
}

task<port::reply> ask(registrar_session* session, std::string method,
                      registrar_session::arguments kwargs) {
  core::one_shot<port::reply> answer("answer of the registrar to " + method);
  const auto ticket = session->ask(method, std::move(kwargs),
                                   [&answer](port::reply&& r) { answer.set(std::move(r)); });
  auto waiting = detail::take(wait_for(&answer));
  auto how = co_await detail::captured<port::reply>(std::move(waiting));
  if (how.error()) {
    session->withdraw(ticket);
    std::rethrow_exception(how.error());
  }
  co_return std::move(how.value());
}

task<> ask_into(port::reply* out, registrar_session* session, std::string method,
                registrar_session::arguments kwargs) {
  port::reply r = co_await ask(session, std::move(method), std::move(kwargs));
  *out = std::move(r);
}

task<port::reply> ask_within(registrar_session* session, std::string method,
                             registrar_session::arguments kwargs, duration within) {
  port::reply r;
  r.why =
      fmt::format("it did not answer within {} s", std::chrono::duration<double>(within).count());
  auto asking = ask_into(&r, session, std::move(method), std::move(kwargs));
  co_await move_on_after(within, std::move(asking));
  co_return r;
}

}  // namespace

discovery::discovery(std::shared_ptr<core::loop> control, network& net, discovery_options options)
    : control_(std::move(control)),
      net_(net),
      options_(options),
      pool_(
          control_, net, [this](const std::string& uuid) { return actor_here(uuid); },
          options.connect_within, options.idle_within) {}

discovery::~discovery() = default;

// --- its life ------------------------------------------------------------------------------------

task<> discovery::close() {
  auto leaving = leave();
  co_await move_on_after(options_.unregister_within, std::move(leaving));
  if (tasks_) std::exchange(tasks_, nullptr)->cancel("the runtime ends");
  for (auto& [where, place] : places_) place.session->close("the process ends");
  pool_.close();
  // What others have connected to us with is this loop's, too. Not a child's: its parent would hear
  // of its end before it has ended.
  if (const auto main = main_ ? actor_here(main_->uuid) : nullptr;
      main && !main->alone_in_process())
    main->close("the actor has ended");
  registrar_.reset();
  listed_.clear();
  here_.clear();
}

// A Coppice registrar sees the end of the connection; a tractor one has to be told.
task<> discovery::leave() {
  auto all = listing_;
  for (const auto& [uuid, e] : listed_) all.emplace(uuid, uid_of(e.port->self()));
  for (auto& [where, place] : places_) {
    const session_ptr session = place.session;
    if (!place.joined || where.empty() || session->is_coppice()) continue;
    for (const auto& [uuid, who] : all)
      co_await ask_within(session.get(), "unregister_actor", uid_argument(who),
                          options_.unregister_within);
  }
}

// Quiet: whoever looks for it asks the control loop later.
void discovery::is_here(const port::actor_port_ptr& actor) {
  control_->post_quiet([this, actor] { here_[actor->self().uuid] = actor; });
}

port::actor_port_ptr discovery::actor_here(const std::string& uuid) const {
  const auto it = here_.find(uuid);
  return it == here_.end() ? nullptr : it->second.lock();
}

// --- registrars ----------------------------------------------------------------------------------

discovery::session_ptr discovery::session_to(registrar_session::dial_function dial) {
  auto session = std::make_shared<registrar_session>(control_, uid_of(*main_), std::move(dial),
                                                     options_.idle_within);
  session->when_cancelled([this](std::string why) {
    if (const auto main = actor_here(main_->uuid)) main->cancel(std::move(why));
  });
  return session;
}

discovery::registrar_place& discovery::place_at(const msg::wire_address& at) {
  if (registrar_ && std::ranges::find(bound_, at) != bound_.end()) return places_.at("");
  const std::string where = describe(at);
  registrar_place& place = places_[where];
  if (place.session) return place;
  place.at = at;
  place.session = session_to([this, at](std::shared_ptr<ipc::link_sink> sink,
                                        std::function<void(std::exception_ptr)> failed) {
    net_.connect(at, *main_, std::move(sink), options_.connect_within,
                 [failed = std::move(failed)](std::exception_ptr e, const ipc::link_ptr&) {
                   if (e) failed(std::move(e));
                 });
  });
  place.session->when_connected([this, where] { register_again(places_.at(where)); });
  return place;
}

void discovery::hold_election(addresses at,
                              std::function<void(std::exception_ptr, addresses)> done) {
  if (!tasks_) return done(std::make_exception_ptr(error("the runtime ends")), {});
  msg::aid self;  // Of nobody yet: what comes of the election stands in the root's own.
  self.name = "probe";
  self.uuid = base::new_uuid();
  self.is_registrar = false;
  auto holding = [](network* net, msg::aid who, addresses where, election_options options,
                    std::function<void(std::exception_ptr, addresses)> then) -> task<> {
    auto frame = detail::take(elect(net, std::move(who), std::move(where), options));
    auto how = co_await detail::captured<election>(std::move(frame));
    if (how.error())
      then(how.error(), {});
    else
      then(nullptr, std::move(how.value().registrars));
  };
  tasks_->start_soon("election", holding, &net_, std::move(self), std::move(at), options_.election,
                     std::move(done));
}

void discovery::open_registrar(const port::actor_port_ptr& root, addresses at, listed done) {
  main_ = root->self();
  registrar_ = root;
  here_[root->self().uuid] = root;
  root->become_registrar(options_.registry, [this](const std::string& uuid) {
    control_->post([this, uuid] { publish(uuid); });
  });
  registrar_place& place = places_[""];
  place.joined = true;
  place.session = session_to(
      [this](std::shared_ptr<ipc::link_sink> sink, const std::function<void(std::exception_ptr)>&) {
        ipc::connect_memory(*main_, std::move(sink), registrar_->self(), registrar_);
      });
  if (at.empty()) {
    list_registrar({});
    return done(nullptr);
  }
  net_.listen_at(root, std::move(at), [this, done](std::exception_ptr e, addresses bound) {
    if (!e && !tasks_) e = std::make_exception_ptr(error("the runtime ends"));
    if (!e) list_registrar(std::move(bound));
    done(std::move(e));
  });
}

void discovery::list_registrar(addresses bound) {
  bound_ = std::move(bound);
  enlist(uid_of(*main_), {}, [](const std::exception_ptr&) {});
  for (const auto& one : bound_) registrar_->register_here(uid_of(*main_), one, ipc::urgency::now);
}

void discovery::join(const port::actor_port_ptr& main, addresses at, listed done) {
  main_ = main->self();
  here_[main->self().uuid] = main;
  for (const auto& one : at) place_at(one).joined = true;
  enlist(uid_of(*main_), {}, std::move(done));
}

void discovery::addresses_for_children(std::function<void(tree_addresses)> then,
                                       std::function<void(std::exception_ptr)> failed) {
  if (registrar_ && (bound_.empty() || options_.wants_certificates))
    return listen(
        registrar_,
        [then = std::move(then), uuid = registrar_->self().uuid](const msg::wire_address& at) {
          then({{at}, {at}, uuid});
        },
        std::move(failed));
  tree_addresses known{bound_, bound_, registrar_ ? registrar_->self().uuid : ""};
  for (const auto& [where, place] : places_)
    if (place.joined && !where.empty()) known.registrars.push_back(place.at);
  if (const auto main = main_ ? listed_.find(main_->uuid) : listed_.end();
      !registrar_ && main != listed_.end())
    known.root.push_back(main->second.at);
  then(std::move(known));
}

// An actor whose loop is stuck never says where it listens.
void discovery::listen(const port::actor_port_ptr& actor,
                       std::function<void(msg::wire_address)> then,
                       std::function<void(std::exception_ptr)> failed) {
  const auto id = next_id_.fetch_add(1);
  auto& bound = listening_[id];
  bound = std::make_unique<core::alarm>(*control_);
  bound->set(options_.listen_within, [this, id, failed, name = actor->self().name] {
    listening_.erase(id);
    failed(std::make_exception_ptr(timeout_error(
        fmt::format("actor '{}' did not listen within {} s: its loop is kept busy", name,
                    std::chrono::duration<double>(options_.listen_within).count()))));
  });
  net_.listen(
      actor,
      [this, id, then = std::move(then)](msg::wire_address at) {
        if (listening_.erase(id) != 0) then(std::move(at));
      },
      [this, id, failed](std::exception_ptr e) {
        if (listening_.erase(id) != 0) failed(std::move(e));
      });
}

// The registrar is about to name an actor of this process to somebody outside.
void discovery::publish(const std::string& uuid) {
  const auto tell = [registrar = registrar_, uuid](const addresses& at) {
    if (registrar) registrar->published(uuid, at);
  };
  const auto actor = actor_here(uuid);
  if (!actor) return tell({});
  listen(
      actor, [tell](msg::wire_address at) { tell({std::move(at)}); },
      [tell](const std::exception_ptr&) { tell({}); });
}

// --- registrations -------------------------------------------------------------------------------

void discovery::enlist(const uid& who, const std::string& parent, listed done) {
  const auto actor = actor_here(who.uuid);
  const bool anywhere =
      std::ranges::any_of(places_, [](const auto& place) { return place.second.joined; });
  if (!actor || !anywhere) return done(nullptr);
  if (!registrar_)
    return listen(
        actor,
        [this, actor, done](msg::wire_address at) {
          if (!tasks_) return done(std::make_exception_ptr(error("the runtime ends")));
          tasks_->start_soon(
              "registration of " + actor->self().name,
              [](discovery* me, port::actor_port_ptr one, msg::wire_address where, listed then) {
                return me->register_at_all(std::move(one), std::move(where), std::move(then));
              },
              this, actor, std::move(at), done);
        },
        done);
  // Whoever asks comes after it, through the same port: nobody has to wait.
  const auto at = port::in_process_address(who.uuid);
  listed_[who.uuid] = {actor, at};
  const bool wakes_anyway = registrar_->self().uuid == parent;
  registrar_->register_here(who, at, wakes_anyway ? ipc::urgency::lazy : ipc::urgency::now);
  done(nullptr);
}

task<> discovery::register_at_all(port::actor_port_ptr who, msg::wire_address at, listed done) {
  const uid id = uid_of(who->self());
  std::string why;
  int registered = 0;
  std::vector<registrar_place*> joined;
  for (auto& [where, place] : places_)
    if (place.joined) joined.push_back(&place);
  listing_.emplace(id.uuid, id);
  for (registrar_place* place : joined) {
    port::reply r = co_await ask_within(place->session.get(), "register_actor", entry_of(id, at),
                                        options_.answer_within);
    if (r.how == port::reply::kind::value) {
      ++registered;
      continue;
    }
    why += fmt::format("{}{}: {}", why.empty() ? "" : "; ", describe(place->at),
                       r.how == port::reply::kind::error ? r.error.message : r.why);
  }
  listing_.erase(id.uuid);
  if (registered == 0)
    co_return done(std::make_exception_ptr(
        actor_start_error(fmt::format("actor '{}' cannot be registered at {}", id.name, why))));
  if (actor_here(id.uuid) == who) {
    listed_[id.uuid] = {who, at};
    for (registrar_place* place : joined) place->session->hold();
  } else {  // It has ended meanwhile.
    for (registrar_place* place : joined)
      place->session->ask("unregister_actor", uid_argument(id), {});
  }
  done(nullptr);
}

// The connection was lost, and with it what it held; the registrar may be another process by now.
void discovery::register_again(const registrar_place& place) {
  if (!place.joined || !place.session->is_coppice()) return;
  for (const auto& [uuid, e] : listed_)
    place.session->ask("register_actor", entry_of(uid_of(e.port->self()), e.at), {});
}

void discovery::strike_off(const uid& who, bool has_left) {
  here_.erase(who.uuid);
  pool_.drop(who.uuid);
  const bool was_listed = listed_.erase(who.uuid) != 0;
  const bool may_stand_there = was_listed || !has_left;
  if (registrar_ && may_stand_there) registrar_->unregister_here(who);
  for (auto& [where, place] : places_) {
    if (!place.joined || where.empty()) continue;
    if (may_stand_there) place.session->ask("unregister_actor", uid_argument(who), {});
    if (was_listed) place.session->release();
  }
}

// --- lookups -------------------------------------------------------------------------------------

void discovery::start(lookup_id id, port::actor_port_ptr asker, lookup wanted, lookup_done done) {
  const auto told = std::make_shared<lookup_done>(std::move(done));  // Shared: tasks copy.
  const bool posted = control_->post(
      [this, id, asker = std::move(asker), wanted = std::move(wanted), told]() mutable {
        if (!tasks_) {
          lookup_result r;
          r.error = std::make_exception_ptr(error("the runtime ends: nobody can be looked up"));
          return (*told)(std::move(r));
        }
        lookups_.emplace(id, std::make_shared<running>());
        tasks_->start_soon(
            "lookup of " + wanted.name,
            [](discovery* me, lookup_id number, port::actor_port_ptr who, lookup what,
               std::shared_ptr<lookup_done> then) {
              return me->look_up(number, std::move(who), std::move(what), std::move(then));
            },
            this, id, std::move(asker), std::move(wanted), told);
      });
  if (posted) return;
  lookup_result r;
  r.error = std::make_exception_ptr(error("the runtime has ended"));
  (*told)(std::move(r));
}

void discovery::release(lookup_id id) {
  control_->post([this, id] {
    const auto it = lookups_.find(id);
    if (it == lookups_.end()) return;
    it->second->released = true;
    if (it->second->scope)
      it->second->scope->cancel("nobody waits for this lookup any more");
    else if (it->second->ended)
      let_go(id);
  });
}

void discovery::let_go(lookup_id id) {
  const auto node = lookups_.extract(id);
  if (node.empty()) return;
  for (const auto& c : node.mapped()->found) pool_.release(c);
}

task<> discovery::look_up(lookup_id id, port::actor_port_ptr asker, lookup wanted,
                          std::shared_ptr<lookup_done> done) {
  const auto mine = lookups_.at(id);
  lookup_result result;
  detail::task_node& self = co_await detail::this_task{};
  {
    cancel_scope scope(self, {.name = "lookup of " + wanted.name});
    mine->scope = &scope;
    if (mine->released) scope.cancel("nobody waits for this lookup any more");
    auto frame = detail::take(answer(mine.get(), asker, &wanted, &result));
    auto how = co_await detail::captured<void>(std::move(frame));
    mine->scope = nullptr;
    result.error = how.error();
    if (result.error) scope.absorbs(result.error);
  }
  mine->ended = true;
  if (result.error && detail::is_cancelled(result.error))
    result.error = std::make_exception_ptr(error("the lookup of '" + wanted.name + "' was ended"));
  if (result.error || mine->released) result.links.clear();
  if (result.links.empty()) let_go(id);
  (*done)(std::move(result));
}

std::vector<discovery::registrar_place*> discovery::places_of(const lookup& wanted) {
  std::vector<registrar_place*> all;
  if (wanted.registrars.empty()) {
    for (auto& [where, place] : places_)
      if (place.joined) all.push_back(&place);
  } else if (main_) {
    for (const auto& at : wanted.registrars) all.push_back(&place_at(at));
  }
  if (all.empty()) throw error("this process has no registrar, and none was named");
  return all;
}

// From each of the registrars, or the first that has one. Only if none could be asked it fails.
task<> discovery::answer(running* mine, port::actor_port_ptr asker, const lookup* wanted,
                         lookup_result* out) {
  const auto places = places_of(*wanted);
  std::exception_ptr failure;
  bool asked = false;
  for (registrar_place* place : places) {
    auto frame = detail::take(answer_from(mine, asker, wanted, place, out));
    auto how = co_await detail::captured<bool>(std::move(frame));
    if (how.error() && detail::is_cancelled(how.error())) std::rethrow_exception(how.error());
    if (how.error()) {
      failure = how.error();
      continue;
    }
    asked = true;
    if (how.value() && wanted->only_first) co_return;
  }
  if (!asked) std::rethrow_exception(failure);
}

task<bool> discovery::answer_from(running* mine, port::actor_port_ptr asker, const lookup* wanted,
                                  registrar_place* place, lookup_result* out) {
  const session_ptr session = place->session;
  const std::string where = session == local_session() ? "this process" : describe(place->at);
  if (wanted->wanted == lookup::what::query || wanted->wanted == lookup::what::registry) {
    const bool all = wanted->wanted == lookup::what::registry;
    // Named: g++ 12 would destroy what comes of a ?: twice.
    std::string method = all ? "get_registry" : "find_actor";
    auto kwargs = all ? no_arguments() : plain_name(wanted->name);
    port::reply r = co_await ask_within(session.get(), std::move(method), std::move(kwargs),
                                        options_.answer_within);
    payload value = value_of(std::move(r), where);
    if (value.is_nil()) co_return false;
    out->raw = std::move(value);
    co_return true;
  }
  const bool waits = wanted->wanted == lookup::what::wait;
  for (int stale = 0; stale < options_.stale_max; ++stale) {
    port::reply r;
    if (waits)
      r = co_await ask(session.get(), "wait_for_actor", name_of(wanted->name));
    else
      r = co_await ask_within(session.get(), "find_actor", name_of(wanted->name),
                              options_.answer_within);
    const payload value = value_of(std::move(r), where);
    if (value.is_nil()) co_return false;
    const addresses known = nearest_first(from_payload<addresses>(value));
    for (const auto& at : known) {
      auto c = co_await try_to_reach(asker, wanted->name, at);
      if (c) {
        out->links.push_back(peer_pool::link_of(c));
        mine->found.push_back(std::move(c));
        co_return true;
      }
      co_await ask_within(session.get(), "delete_addr", address_argument(at),
                          options_.answer_within);
    }
  }
  if (waits)
    throw error(fmt::format("{} entries of actor '{}' in a row lead to nobody (stale_max)",
                            options_.stale_max, wanted->name));
  co_return false;
}

// Null: nobody is there, or somebody else.
task<peer_pool::connection_ptr> discovery::try_to_reach(port::actor_port_ptr asker,
                                                        std::string name, msg::wire_address at) {
  auto frame = detail::take(pool_.connect(std::move(asker), std::move(at)));
  auto how = co_await detail::captured<peer_pool::connection_ptr>(std::move(frame));
  if (how.error()) {
    if (detail::is_cancelled(how.error())) std::rethrow_exception(how.error());
    co_return nullptr;
  }
  peer_pool::connection_ptr c = std::move(how.value());
  const auto& peer = peer_pool::link_of(c)->peer();
  if (peer.name == name || peer.uuid == name) co_return c;
  pool_.release(c);
  co_return nullptr;
}

}  // namespace coppice::tree
