// SPDX-License-Identifier: Apache-2.0
#include "port/registry.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <variant>

namespace coppice::port {

namespace {

std::string key_of(const msg::wire_address& at) {
  if (const auto* tcp = std::get_if<msg::tcp_address>(&at))
    return fmt::format("t{}\n{}", tcp->port, tcp->host);
  const auto& uds = std::get<msg::uds_address>(at);
  return fmt::format("u{}\n{}{}", uds.directory.size(), uds.directory, uds.file);
}

}  // namespace

msg::wire_address in_process_address(const std::string& uuid) {
  return msg::uds_address{std::string(), uuid};
}

const std::string* in_process_uuid(const msg::wire_address& at) noexcept {
  const auto* uds = std::get_if<msg::uds_address>(&at);
  return uds && uds->directory.empty() ? &uds->file : nullptr;
}

void registry::check_texts(const uid& who, const msg::wire_address& at) const {
  std::size_t longest = std::max(who.name.size(), who.uuid.size());
  if (const auto* tcp = std::get_if<msg::tcp_address>(&at))
    longest = std::max(longest, tcp->host.size());
  if (const auto* uds = std::get_if<msg::uds_address>(&at))
    longest = std::max({longest, uds->directory.size(), uds->file.size()});
  if (longest > limits_.text_bytes_max)
    throw limit_exceeded(
        fmt::format("a text of {} bytes is more than a registrar keeps: {} "
                    "(text_bytes_max)",
                    longest, limits_.text_bytes_max));
}

registry::entry* registry::find(const uid& who, number& n) {
  const auto known = by_name_.find(who.uuid);
  if (known == by_name_.end()) return nullptr;
  for (const number i : known->second) {
    entry& e = entries_.at(i);
    if (e.who != who) continue;
    n = i;
    return &e;
  }
  return nullptr;
}

std::vector<registry::waiter> registry::register_actor(const uid& who, const msg::wire_address& at,
                                                       const ipc::link* holder) {
  check_texts(who, at);
  number n = 0;
  entry* e = find(who, n);
  if (!e && entries_.size() >= limits_.actors_max)
    throw limit_exceeded(
        fmt::format("{} actors are registered already (actors_max)", entries_.size()));
  if (!e) {
    n = ++last_;
    e = &entries_.emplace(n, entry{who, {}}).first->second;
    by_name_[who.name].insert(n);
    by_name_[who.uuid].insert(n);
  }
  add(*e, n, at);
  hold(*e, n, holder);
  auto woken = wake(who.name);
  if (who.uuid != who.name) std::ranges::move(wake(who.uuid), std::back_inserter(woken));
  return woken;
}

void registry::add_address(const msg::wire_address& known, const msg::wire_address& at) {
  const auto owner = by_address_.find(key_of(known));
  if (owner == by_address_.end()) return;
  entry& e = entries_.at(owner->second);
  check_texts(e.who, at);
  add(e, owner->second, at);
}

void registry::add(entry& e, number n, const msg::wire_address& at) {
  if (std::ranges::find(e.at, at) != e.at.end()) return;
  if (e.at.size() >= limits_.addresses_per_actor_max)
    throw limit_exceeded(
        fmt::format("actor '{}' has {} addresses already "
                    "(addresses_per_actor_max)",
                    e.who.name, e.at.size()));
  if (const auto before = by_address_.find(key_of(at)); before != by_address_.end())
    take_from(before->second, at);
  e.at.push_back(at);
  by_address_[key_of(at)] = n;
}

void registry::hold(entry& e, number n, const ipc::link* holder) {
  if (e.holder == holder) return;
  if (const auto before = held_by_.find(e.holder); e.holder && before != held_by_.end()) {
    before->second.erase(n);
    if (before->second.empty()) held_by_.erase(before);
  }
  e.holder = holder;
  if (holder) held_by_[holder].insert(n);
}

void registry::take_from(number n, const msg::wire_address& at) {
  entry& e = entries_.at(n);
  std::erase(e.at, at);
  by_address_.erase(key_of(at));
  if (e.at.empty()) drop(n);
}

void registry::drop(number n) {
  entry& e = entries_.at(n);
  hold(e, n, nullptr);
  for (const auto& at : e.at) by_address_.erase(key_of(at));
  for (const auto* name : {&e.who.name, &e.who.uuid})
    if (const auto it = by_name_.find(*name); it != by_name_.end()) {
      it->second.erase(n);
      if (it->second.empty()) by_name_.erase(it);
    }
  entries_.erase(n);
}

void registry::unregister_actor(const uid& who) {
  number n = 0;
  if (find(who, n)) drop(n);
}

std::optional<registry::addresses> registry::find_actor(std::string_view name_or_uuid) const {
  const auto it = by_name_.find(std::string(name_or_uuid));
  if (it == by_name_.end()) return std::nullopt;
  return entries_.at(*it->second.rbegin()).at;
}

std::vector<std::pair<std::string, registry::addresses>> registry::all() const {
  std::vector<std::pair<std::string, addresses>> out;
  out.reserve(entries_.size());
  for (const auto& [n, e] : entries_) out.emplace_back(e.who.name + "." + e.who.uuid, e.at);
  return out;
}

std::optional<uid> registry::delete_addr(const msg::wire_address& at) {
  const auto it = by_address_.find(key_of(at));
  if (it == by_address_.end()) return std::nullopt;
  const number n = it->second;
  const uid who = entries_.at(n).who;
  take_from(n, at);
  return who;
}

// --- who waits -----------------------------------------------------------------------------------

void registry::wait_for(waiter w) {
  if (w.name.size() > limits_.text_bytes_max)
    throw limit_exceeded(fmt::format("a name of {} bytes is longer than any: {} (text_bytes_max)",
                                     w.name.size(), limits_.text_bytes_max));
  const auto known = waits_of_.find(w.peer.get());
  if (const auto n = known == waits_of_.end() ? 0 : known->second.size();
      n >= limits_.waiters_per_peer_max)
    throw limit_exceeded(fmt::format("'{}' waits for {} actors already (waiters_per_peer_max)",
                                     w.peer->peer().name, n));
  waits_of_[w.peer.get()].emplace(w.cid, w.name);
  auto& list = waiters_[w.name];
  list.push_back(std::move(w));
}

std::vector<registry::waiter> registry::wake(const std::string& name_or_uuid) {
  const auto node = waiters_.extract(name_or_uuid);
  if (node.empty()) return {};
  for (const auto& w : node.mapped()) {
    const auto of_peer = waits_of_.find(w.peer.get());
    of_peer->second.erase(w.cid);
    if (of_peer->second.empty()) waits_of_.erase(of_peer);
  }
  return std::move(node.mapped());
}

bool registry::withdraw(const ipc::link* peer, const std::string& cid) {
  const auto of_peer = waits_of_.find(peer);
  if (of_peer == waits_of_.end()) return false;
  const auto wait = of_peer->second.find(cid);
  if (wait == of_peer->second.end()) return false;
  const auto list = waiters_.find(wait->second);
  std::erase_if(list->second,
                [&](const waiter& w) { return w.peer.get() == peer && w.cid == cid; });
  if (list->second.empty()) waiters_.erase(list);
  of_peer->second.erase(wait);
  if (of_peer->second.empty()) waits_of_.erase(of_peer);
  return true;
}

void registry::closed(const ipc::link* peer) {
  if (const auto held = held_by_.find(peer); held != held_by_.end())
    for (const number n : std::set<number>(held->second)) drop(n);
  if (const auto waits = waits_of_.extract(peer); !waits.empty())
    for (const auto& [cid, name] : waits.mapped()) {
      const auto list = waiters_.find(name);
      if (list == waiters_.end()) continue;  // Two of its waits were for this name.
      std::erase_if(list->second, [&](const waiter& w) { return w.peer.get() == peer; });
      if (list->second.empty()) waiters_.erase(list);
    }
}

std::size_t registry::waiting() const noexcept {
  std::size_t n = 0;
  for (const auto& [name, list] : waiters_) n += list.size();
  return n;
}

void registry::describe(base::tree_writer& w) const {
  w.line(fmt::format("registrar of {} actors", entries_.size()));
  for (const auto& [name, list] : waiters_)
    for (const auto& one : list)
      w.line(fmt::format("'{}' waits for actor '{}'", one.peer->peer().name, name));
}

}  // namespace coppice::port
