// SPDX-License-Identifier: Apache-2.0
#include "actor/listener_table.hpp"

#include <algorithm>
#include <utility>

#include "coppice/errors.hpp"

namespace coppice::tree {

namespace {
std::exception_ptr has_ended() {
  return std::make_exception_ptr(actor_start_error("the actor that was to listen has ended"));
}

std::vector<ipc::address> places_of(const std::vector<std::shared_ptr<ipc::listener>>& open) {
  std::vector<ipc::address> out;
  for (const auto& l : open) out.push_back(l->at());
  return out;
}
}  // namespace

listener_table::listening& listener_table::entry_of(const port::actor_port_ptr& port) {
  listening& entry = actors_[port->self().uuid];
  if (!entry.on) {
    auto own = port->own_loop();
    entry.on = own ? std::move(own) : control_;
  }
  return entry;
}

void listener_table::bind(const port::actor_port_ptr& port, std::vector<ipc::address> wanted,
                          bind_done done) {
  open(port, [wanted = std::move(wanted)] { return wanted; }, options_, std::move(done));
}

void listener_table::reach(const port::actor_port_ptr& port, ipc::transport by, bind_done done) {
  listening& entry = entry_of(port);
  if (const auto it = entry.reachable.find(by); it != entry.reachable.end())
    return done(nullptr, {it->second});
  if (by == ipc::transport::uds)
    for (const auto& l : entry.open)
      if (l->at().as_uds()) return done(nullptr, {l->at()});
  auto& waiting = entry.waiting[by];
  waiting.push_back(std::move(done));
  if (waiting.size() > 1) return;  // It is being opened.
  const auto chosen = [port, by]() -> std::vector<ipc::address> {
    if (by == ipc::transport::tcp) return {ipc::address::tcp("127.0.0.1", 0)};
    const auto& self = port->self();
    return {ipc::socket_address(self.name, self.uuid, port->alone_in_process())};
  };
  ipc::transport_options plain = options_;
  plain.tls = nullptr;
  open(port, chosen, std::move(plain),
       [this, uuid = port->self().uuid, by](std::exception_ptr e, std::vector<ipc::address> at) {
         const auto it = actors_.find(uuid);
         if (it == actors_.end()) return;  // ended() has told them.
         if (!e) it->second.reachable[by] = at.front();
         for (auto& one : std::exchange(it->second.waiting[by], {})) one(e, at);
       });
}

void listener_table::open(const port::actor_port_ptr& port, choice wanted,
                          ipc::transport_options options, bind_done done) {
  listening& entry = entry_of(port);
  auto what = std::make_shared<opening>();
  what->done = std::move(done);
  entry.under_way.push_back(what);
  auto work = [this, port, on = entry.on, wanted = std::move(wanted), what,
               options = std::move(options)] {
    try {
      for (const ipc::address& at : wanted())
        what->made.push_back(ipc::listener::open(on, at, port->self(), port, limits_, options));
    } catch (...) {
      what->error = std::current_exception();
      for (auto& l : std::exchange(what->made, {})) l->close();
    }
    if (on == control_) return opened(port->self().uuid, what);
    for (const auto& l : what->made) port->listens(l);
    control_->post([this, uuid = port->self().uuid, what] { opened(uuid, what); });
  };
  if (entry.on == control_) return work();
  if (entry.on->post(std::move(work))) return;
  what->error = has_ended();
  opened(port->self().uuid, what);
}

void listener_table::opened(const std::string& uuid, const std::shared_ptr<opening>& what) {
  const auto it = actors_.find(uuid);
  // The actor has ended meanwhile: `done` has been told, and those on its own loop are its affair.
  if (it == actors_.end()) return;
  std::erase(it->second.under_way, what);
  auto done = std::exchange(what->done, nullptr);
  auto& open = it->second.open;
  open.insert(open.end(), what->made.begin(), what->made.end());
  done(what->error, places_of(what->made));
}

std::vector<ipc::address> listener_table::addresses_of(const std::string& uuid) const {
  const auto it = actors_.find(uuid);
  return it == actors_.end() ? std::vector<ipc::address>() : places_of(it->second.open);
}

std::optional<std::string> listener_table::uuid_at(const msg::wire_address& at) const {
  for (const auto& [uuid, entry] : actors_)
    for (const auto& l : entry.open)
      if (l->at().wire() == at) return uuid;
  return std::nullopt;
}

void listener_table::ended(const std::string& uuid) {
  auto node = actors_.extract(uuid);
  if (node.empty()) return;
  listening& entry = node.mapped();
  if (entry.on == control_)
    for (const auto& l : entry.open) l->close();
  for (const auto& what : entry.under_way)
    if (auto done = std::exchange(what->done, nullptr)) done(has_ended(), {});
  for (auto& [by, waiting] : entry.waiting)
    for (auto& done : waiting) done(has_ended(), {});
}

void listener_table::close() {
  for (auto& [uuid, entry] : std::exchange(actors_, {}))
    if (entry.on == control_)
      for (const auto& l : entry.open) l->close();
}

}  // namespace coppice::tree
