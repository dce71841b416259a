// SPDX-License-Identifier: Apache-2.0
#include "actor/peer_pool.hpp"

#include <fmt/format.h>

#include "actor/election.hpp"
#include "coppice/errors.hpp"
#include "core/one_shot.hpp"
#include "ipc/memory_link.hpp"
#include "port/registry.hpp"

namespace coppice::tree {

struct peer_pool::connection {
  explicit connection(core::loop& control, key k) : where(std::move(k)), idle(control) {}

  const key where;
  ipc::link_ptr link;
  int users = 0;
  bool dialing = false;
  bool gone = false;  // Out of the pool.
  std::exception_ptr error;
  std::vector<std::shared_ptr<core::one_shot<bool>>> waiting;
  core::alarm idle;
};

/// What the asker's port is told, and the pool when it is over.
class peer_pool::forwarder final : public ipc::link_sink {
 public:
  forwarder(port::actor_port_ptr to, core::loop_ref control, std::function<void()> over)
      : to_(std::move(to)), control_(std::move(control)), over_(std::move(over)) {}
  void on_connected(const ipc::link_ptr& l) override {
    link_ = l;
    to_->on_connected(l);
  }
  void on_message(const ipc::link_ptr& from, msg::message&& m, ipc::urgency u) override {
    to_->on_message(from, std::move(m), u);
  }
  void on_closed(const ipc::link_ptr& from, const std::string& why) override {
    to_->on_closed(from, why);
    control_.post([over = over_] { over(); });
  }
  /// Of a connection that was made on this thread. Taken: the link keeps its sink.
  ipc::link_ptr take_link() { return std::exchange(link_, nullptr); }

 private:
  ipc::link_ptr link_;
  const port::actor_port_ptr to_;
  const core::loop_ref control_;
  const std::function<void()> over_;
};

peer_pool::peer_pool(std::shared_ptr<core::loop> control, network& net, local_function local,
                     duration connect_within, duration idle_within)
    : control_(std::move(control)),
      net_(net),
      local_(std::move(local)),
      connect_within_(connect_within),
      idle_within_(idle_within) {}

peer_pool::~peer_pool() = default;

const ipc::link_ptr& peer_pool::link_of(const connection_ptr& c) { return c->link; }

task<peer_pool::connection_ptr> peer_pool::connect(port::actor_port_ptr asker,
                                                   msg::wire_address to) {
  const key where{asker->self().uuid, describe(to)};
  connection_ptr& kept = open_[where];
  if (!kept) kept = std::make_shared<connection>(*control_, where);
  const connection_ptr c = kept;
  ++c->users;
  c->idle.clear();
  if (!c->link && !std::exchange(c->dialing, true)) dial(c, asker, to);
  if (c->dialing) {
    const auto slot = std::make_shared<core::one_shot<bool>>("connection to " + where.second);
    c->waiting.push_back(slot);
    auto waiting = detail::take(wait_for(slot.get()));
    auto how = co_await detail::captured<bool>(std::move(waiting));
    if (how.error()) {
      release(c);
      std::rethrow_exception(how.error());
    }
  }
  if (!c->link) {
    const auto why = c->error;
    release(c);
    std::rethrow_exception(why);
  }
  co_return c;
}

void peer_pool::dial(const connection_ptr& c, const port::actor_port_ptr& asker,
                     const msg::wire_address& to) {
  auto sink = std::make_shared<forwarder>(asker, control_->ref(),
                                          [this, weak = std::weak_ptr<connection>(c)] {
                                            if (const auto it = weak.lock()) lost(it);
                                          });
  std::optional<std::string> uuid;
  if (const std::string* here = port::in_process_uuid(to))
    uuid = *here;
  else
    uuid = net_.uuid_at(to);
  if (!uuid)
    return net_.connect(to, asker->self(), sink, connect_within_,
                        [this, c, sink](std::exception_ptr e, ipc::link_ptr l) {
                          sink->take_link();
                          settled(c, std::move(e), std::move(l));
                        });
  const auto there = local_(*uuid);
  if (!there)
    return settled(
        c, std::make_exception_ptr(transport_closed("an actor of this process that has ended")),
        nullptr);
  ipc::connect_memory(asker->self(), sink, there->self(), there);
  settled(c, nullptr, sink->take_link());
}

void peer_pool::settled(const connection_ptr& c, std::exception_ptr e, ipc::link_ptr l) {
  c->dialing = false;
  c->error = std::move(e);
  if (l && c->gone) return l->close("nobody waits for this connection any more");
  c->link = std::move(l);
  for (const auto& slot : std::exchange(c->waiting, {})) slot->set(true);
  close_when_idle(c);
}

void peer_pool::close_when_idle(const connection_ptr& c) {
  if (c->users != 0 || !c->link) return;
  c->idle.set(idle_within_, [this, weak = std::weak_ptr<connection>(c)] {
    if (const auto it = weak.lock(); it && it->users == 0) lost(it);
  });
}

void peer_pool::release(const connection_ptr& c) {
  if (--c->users != 0 || c->gone) return;
  if (!c->link && !c->dialing) return lost(c);
  close_when_idle(c);
}

// It is over, or is to be.
void peer_pool::lost(const connection_ptr& c) {
  if (std::exchange(c->gone, true)) return;
  const connection_ptr keep = c;
  open_.erase(c->where);
  keep->idle.clear();
  if (const auto l = keep->link) l->close("nobody uses this connection any more");
}

void peer_pool::drop(const std::string& uuid) {
  std::vector<connection_ptr> of_it;
  for (const auto& [where, c] : open_)
    if (where.first == uuid) of_it.push_back(c);
  for (const auto& c : of_it) lost(c);
}

void peer_pool::close() {
  std::vector<connection_ptr> all;
  for (const auto& [where, c] : open_) all.push_back(c);
  for (const auto& c : all) lost(c);
}

}  // namespace coppice::tree
