// SPDX-License-Identifier: Apache-2.0
#include "port/registry_calls.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <exception>
#include <utility>

#include "coppice/message.hpp"

namespace coppice::port {

// Not in the anonymous namespace: their field names are read.
struct register_arguments {
  std::optional<coppice::uid> uid;
  std::optional<msg::wire_address> addr;
  bool held = false;
};
struct unregister_arguments {
  std::optional<coppice::uid> uid;
};
struct name_arguments {
  std::optional<std::string> name;
  bool here = false;
};
struct address_arguments {
  std::optional<msg::wire_address> addr;
};

namespace {

template <class T>
const T& needed(const std::optional<T>& argument, const char* name) {
  if (!argument) throw message_type_error(fmt::format("the argument '{}' is missing", name));
  return *argument;
}

const msg::wire_address& address_from(const ipc::link& peer,
                                      const std::optional<msg::wire_address>& argument) {
  const auto& at = needed(argument, "addr");
  if (in_process_uuid(at) && !peer.is_local())
    throw message_type_error("an address without a directory means nothing in another process");
  return at;
}

payload all_of(const std::vector<std::pair<std::string, registry::addresses>>& entries) {
  msgpack::buffer bytes;
  msgpack::writer w(bytes);
  w.map(entries.size());
  for (const auto& [key, at] : entries) {
    codec<std::string>::encode(w, key);
    codec<registry::addresses>::encode(w, at);
  }
  return payload::take(std::move(bytes));
}

}  // namespace

bool registrar::serves(std::string_view method) noexcept {
  constexpr std::array<std::string_view, 6> six{"register_actor", "unregister_actor",
                                                "find_actor",     "wait_for_actor",
                                                "get_registry",   "delete_addr"};
  return std::ranges::find(six, method) != six.end();
}

void registrar::call(const ipc::link_ptr& from, const msg::start& call, outcome& out) {
  const auto refuse = [&](const char* type, const char* why) {
    out.answers.push_back({from, call.cid, refusal{type, fmt::format("{}(): {}", call.func, why)}});
  };
  const auto value = [&](payload p) { out.answers.push_back({from, call.cid, std::move(p)}); };
  try {
    if (call.func == "register_actor") {
      register_actor(from, call, out);
    } else if (call.func == "unregister_actor") {
      table_.unregister_actor(needed(from_payload<unregister_arguments>(call.kwargs).uid, "uid"));
      value({});
    } else if (call.func == "delete_addr") {
      const auto a = from_payload<address_arguments>(call.kwargs);
      const auto whose = table_.delete_addr(address_from(*from, a.addr));
      value(whose ? to_payload(*whose) : payload());
    } else if (call.func == "get_registry") {
      look({.from = from, .cid = call.cid, .name = {}, .all = true}, out);
    } else {
      const auto a = from_payload<name_arguments>(call.kwargs);
      look({.from = from,
            .cid = call.cid,
            .name = needed(a.name, "name"),
            .waits = call.func == "wait_for_actor",
            .here = a.here && from->is_local()},
           out);
    }
  } catch (const limit_exceeded& e) {
    refuse("LimitExceeded", e.what());
  } catch (const std::exception& e) {
    refuse("TypeError", e.what());
  }
}

void registrar::register_actor(const ipc::link_ptr& from, const msg::start& call, outcome& out) {
  const auto a = from_payload<register_arguments>(call.kwargs);
  auto woken = table_.register_actor(needed(a.uid, "uid"), address_from(*from, a.addr),
                                     a.held ? from.get() : nullptr);
  out.answers.push_back({from, call.cid, payload()});
  look_again(std::move(woken), out);
}

void registrar::register_here(const uid& who, const msg::wire_address& at, outcome& out) {
  try {
    look_again(table_.register_actor(who, at), out);
  } catch (const limit_exceeded&) {
  }
}

void registrar::look_again(std::vector<registry::waiter> woken, outcome& out) {
  for (auto& w : woken)
    look({.from = std::move(w.peer),
          .cid = std::move(w.cid),
          .name = std::move(w.name),
          .waits = true,
          .here = w.here},
         out);
}

void registrar::look(question q, outcome& out) {
  if (q.all) {
    auto entries = table_.all();
    bool ready = true;
    for (auto& [key, at] : entries) ready = can_be_named(at, q, out) && ready;
    if (!ready) return parked_.push_back(std::move(q));
    std::erase_if(entries, [](const auto& e) { return e.second.empty(); });
    return reply(q, all_of(entries), out);
  }
  auto at = table_.find_actor(q.name);
  if (at && !can_be_named(*at, q, out)) return parked_.push_back(std::move(q));
  if (at && !at->empty()) return reply(q, to_payload(*at), out);
  // What waits goes on waiting for one that can be named.
  if (!q.waits) return reply(q, {}, out);
  table_.wait_for({std::move(q.from), std::move(q.cid), std::move(q.name), q.here});
}

// False: the actor is asked to listen first. What the asker must not see is taken out of `at`.
bool registrar::can_be_named(registry::addresses& at, question& q, outcome& out) {
  const auto here = std::ranges::find_if(at, [](const auto& a) { return in_process_uuid(a); });
  if (here == at.end()) return true;
  if (q.here) {
    at = {*here};
    return true;
  }
  const std::string uuid = *in_process_uuid(*here);
  std::erase_if(at, [](const auto& a) { return in_process_uuid(a); });
  if (!at.empty() || q.left_out.contains(uuid)) return true;
  if (publishing_.insert(uuid).second) out.publish.push_back(uuid);
  return false;
}

void registrar::reply(const question& q, payload value, outcome& out) {
  out.answers.push_back({q.from, q.cid, std::move(value)});
}

void registrar::published(const std::string& uuid, const registry::addresses& at, outcome& out) {
  publishing_.erase(uuid);
  for (const auto& one : at) {
    try {  // If it has ended meanwhile, it does not come back.
      table_.add_address(in_process_address(uuid), one);
    } catch (const limit_exceeded&) {  // It has enough of them.
    }
  }
  for (auto& q : std::exchange(parked_, {})) {
    if (at.empty()) q.left_out.insert(uuid);
    answer refused{q.from, q.cid, {}};
    try {
      look(std::move(q), out);
    } catch (const limit_exceeded& e) {
      refused.what = refusal{"LimitExceeded", e.what()};
      out.answers.push_back(std::move(refused));
    }
  }
}

bool registrar::withdraw(const ipc::link_ptr& from, const std::string& cid) {
  if (std::erase_if(parked_, [&](const question& q) { return q.from == from && q.cid == cid; }) !=
      0)
    return true;
  return table_.withdraw(from.get(), cid);
}

void registrar::closed(const ipc::link_ptr& peer) {
  table_.closed(peer.get());
  std::erase_if(parked_, [&](const question& q) { return q.from == peer; });
}

}  // namespace coppice::port
