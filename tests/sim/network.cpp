// SPDX-License-Identifier: Apache-2.0
#include "network.hpp"

#include <deque>
#include <optional>
#include <utility>

#include "core/alarm.hpp"
#include "msg/messages.hpp"

namespace coppice::sim {

/// One connection: what its two ends share. The cycle between it and its ends is broken when an end
/// is over.
class wire : public std::enable_shared_from_this<wire> {
 public:
  enum side : int { child = 0, parent = 1 };

  wire(network& net, dice luck, const msg::aid& a, const msg::aid& b)
      : net_(net), luck_(luck), ends_{end(net.loop_, a), end(net.loop_, b)} {
    ++net_.left_;
  }
  ~wire() { --net_.left_; }
  wire(const wire&) = delete;
  wire& operator=(const wire&) = delete;

  void open(std::shared_ptr<ipc::link_sink> a, std::shared_ptr<ipc::link_sink> b,
            std::function<void(std::string)> failed);
  void send(side from, const msg::message& m, ipc::urgency u);
  void close(side from, const std::string& why);
  void cut(const std::string& why);
  void half_open();
  void stall();
  void kill(const std::string& uuid);

  bool over() const { return ends_[child].over && ends_[parent].over; }
  const msg::aid& who(side s) const { return ends_[s].who; }
  std::string name() const { return ends_[child].who.name + "-" + ends_[parent].who.name; }

 private:
  enum class kind : std::uint8_t { hello, message, bye };
  struct letter {
    time_point at;
    kind what = kind::message;
    payload frame = {};
    ipc::urgency how = ipc::urgency::now;
    bool waits = false;  // A lazy one: lies until the next comes.
    std::string why = {};
  };
  struct end {
    end(core::loop& l, msg::aid a) : who(std::move(a)), wake(l) {}
    const msg::aid who;
    std::shared_ptr<ipc::link_sink> sink;  // Cleared by the end, like the next.
    ipc::link_ptr link;
    bool connected = false;
    bool over = false;  // Told of the end, or killed.
    bool deaf = false;  // What is sent to it is swallowed.
    std::deque<letter> coming;
    time_point soonest{};  // Of the next letter: order is kept.
    core::alarm wake;
  };

  void post(end& to, letter l);
  void arm(end& to);
  void deliver(end& to);
  void take(end& to, letter l);
  void finish(end& to, const std::string& why);

  network& net_;
  dice luck_;
  end ends_[2];
  bool broken_ = false;
  core::alarm found_{net_.loop_};  // A half-open connection is noticed.
  std::function<void(std::string)> failed_;
};

namespace {

class sim_link final : public ipc::link {
 public:
  sim_link(std::shared_ptr<wire> of, wire::side at) : wire_(std::move(of)), at_(at) {
    peer_ = wire_->who(at == wire::child ? wire::parent : wire::child);
  }
  void send(msg::message m, ipc::urgency u) override { wire_->send(at_, m, u); }
  void close(std::string why) override { wire_->close(at_, why); }
  bool is_local() const noexcept override { return false; }
  std::string describe() const override { return "simulated to " + peer_.name; }

 private:
  const std::shared_ptr<wire> wire_;
  const wire::side at_;
};

std::string line_of(const msg::message& m) {
  std::string text(msg::type_name(m));
  if (const auto* s = std::get_if<msg::start>(&m)) text += " " + s->ns + ":" + s->func;
  if (const auto* e = std::get_if<msg::boxed_error>(&m))
    text += " " + e->boxed_type_str + " '" + e->message.value_or("") + "'";
  return text;
}

}  // namespace

// The listener knows of the connection first, as with a socket.
void wire::open(std::shared_ptr<ipc::link_sink> a, std::shared_ptr<ipc::link_sink> b,
                std::function<void(std::string)> failed) {
  failed_ = std::move(failed);
  const auto self = shared_from_this();
  ends_[child].sink = std::move(a);
  ends_[parent].sink = std::move(b);
  ends_[child].link = std::make_shared<sim_link>(self, child);
  ends_[parent].link = std::make_shared<sim_link>(self, parent);
  post(ends_[parent], {.at = {}, .what = kind::hello});
  ends_[child].soonest = ends_[parent].soonest;
  post(ends_[child], {.at = {}, .what = kind::hello});
}

void wire::send(side from, const msg::message& m, ipc::urgency u) {
  end& to = ends_[1 - from];
  if (ends_[from].over || to.over || broken_) return;
  if (to.deaf) return net_.trace_.note("{}: {} is swallowed", name(), line_of(m));
  if (const auto* s = std::get_if<msg::start>(&m); s && s->ns == "self" && s->func == "cancel")
    net_.watch_.on_ending(to.who.uuid);
  msgpack::buffer bytes;
  msg::encode(m, bytes, msg::dialect::coppice);
  letter l{.at = {}, .frame = payload::take(std::move(bytes)), .how = u};
  l.waits = u == ipc::urgency::lazy && luck_.chance(50);
  post(to, std::move(l));
}

void wire::close(side from, const std::string& why) {
  end& mine = ends_[from];
  if (mine.over) return;
  net_.trace_.note("{}: closed by {}: {}", name(), mine.who.name, why);
  const auto self = shared_from_this();
  if (end& to = ends_[1 - from]; !to.over && !broken_ && !to.deaf)
    post(to, {.at = {}, .what = kind::bye, .why = "closed by its peer"});
  else if (to.deaf && !broken_)
    cut("the peer went away");  // Its goodbye is swallowed too: noticed like any break.
  finish(mine, why);
}

void wire::cut(const std::string& why) {
  if (std::exchange(broken_, true) || over()) return;
  net_.trace_.note("{}: {}", name(), why);
  found_.clear();
  for (end& e : ends_) {
    if (e.over) continue;
    e.coming.clear();  // What was on its way is lost.
    e.soonest = net_.loop_.now() + luck_.between(duration::zero(), network::notice_max);
    post(e, {.at = {}, .what = kind::bye, .why = why});
  }
}

void wire::half_open() {
  if (broken_ || over() || ends_[0].deaf || ends_[1].deaf) return;
  end& deaf = ends_[luck_.below(2)];
  net_.trace_.note("{}: {} hears nothing any more", name(), deaf.who.name);
  deaf.deaf = true;
  found_.set(luck_.between(duration::zero(), network::half_open_max),
             [this] { cut("connection reset by peer"); });
}

void wire::stall() {
  end& slow = ends_[luck_.below(2)];
  if (slow.over || broken_) return;
  const duration d = luck_.between(duration::zero(), network::stall_max);
  net_.trace_.note("{}: {} does not read for {} ms", name(), slow.who.name, d.count() / 1'000'000);
  const time_point until = net_.loop_.now() + d;
  for (letter& l : slow.coming) l.at = std::max(l.at, until);
  slow.soonest = std::max(slow.soonest, until);
  arm(slow);
}

void wire::kill(const std::string& uuid) {
  const auto self = shared_from_this();
  for (const side s : {child, parent}) {
    end& dead = ends_[s];
    if (dead.who.uuid != uuid || dead.over) continue;
    dead.over = true;
    dead.coming.clear();
    dead.wake.clear();
    if (s == child) failed_ = nullptr;
    dead.sink.reset();
    dead.link.reset();
    if (end& to = ends_[1 - s]; !to.over && !broken_)
      to.deaf ? cut("connection reset by peer")
              : post(to, {.at = {}, .what = kind::bye, .why = "its peer was killed"});
  }
}

void wire::post(end& to, letter l) {
  l.at = std::max(to.soonest, net_.loop_.now() + net_.delay(luck_));
  to.soonest = l.at;
  to.coming.push_back(std::move(l));
  arm(to);
}

void wire::arm(end& to) {
  to.wake.clear();
  for (const letter& l : to.coming)
    if (!l.waits) return to.wake.set(l.at - net_.loop_.now(), [this, &to] { deliver(to); });
}

void wire::deliver(end& to) {
  const auto self = shared_from_this();  // Both ends may go in here.
  while (!to.over && !to.coming.empty() && to.coming.front().at <= net_.loop_.now()) {
    letter l = std::move(to.coming.front());
    to.coming.pop_front();
    take(to, std::move(l));
  }
  if (!to.over) arm(to);
}

void wire::take(end& to, letter l) {
  const auto sink = to.sink;
  switch (l.what) {
    case kind::hello:
      net_.trace_.note("{}: {} is connected", name(), to.who.name);
      to.connected = true;
      return sink->on_connected(to.link);
    case kind::message: {
      msg::message m = msg::decode(l.frame);
      net_.trace_.note("{}: {} gets {}", name(), to.who.name, line_of(m));
      return sink->on_message(to.link, std::move(m), l.how);
    }
    case kind::bye:
      return finish(to, l.why);
  }
}

void wire::finish(end& to, const std::string& why) {
  to.over = true;
  to.coming.clear();
  to.wake.clear();
  const auto link = std::move(to.link);
  const auto sink = std::move(to.sink);
  net_.trace_.note("{}: {} hears the end: {}", name(), to.who.name, why);
  const auto& tell = &to == &ends_[child] ? net_.watch_.on_ending : net_.watch_.on_lost;
  if (tell) tell(ends_[child].who.uuid);
  const auto failed = &to == &ends_[child] ? std::exchange(failed_, nullptr) : nullptr;
  if (to.connected)
    sink->on_closed(link, why);
  else if (failed)
    failed(why);
}

// --- the network ---------------------------------------------------------------------------------

network::network(core::loop& loop, journal& trace, dice luck, weather w, observer watch)
    : loop_(loop), trace_(trace), luck_(luck), weather_(w), watch_(std::move(watch)) {}

network::~network() = default;

void network::connect(const msg::aid& child, std::shared_ptr<ipc::link_sink> child_sink,
                      const msg::aid& parent, std::shared_ptr<ipc::link_sink> parent_sink,
                      std::function<void(std::string why)> failed) {
  const auto made = std::make_shared<wire>(*this, luck_.of(child.uuid), child, parent);
  known_[child.uuid].connection = made;
  made->open(std::move(child_sink), std::move(parent_sink), std::move(failed));
}

std::shared_ptr<wire> network::find(const std::string& child) const {
  const auto it = known_.find(child);
  return it != known_.end() ? it->second.connection.lock() : nullptr;
}

duration network::delay(dice& luck) const {
  duration d = luck.between(std::chrono::microseconds(10), weather_.delay_max);
  if (luck.chance(weather_.spikes_percent)) d += luck.between(duration::zero(), weather_.spike_max);
  return d;
}

void network::kill(const std::string& uuid) {
  for (auto& [child, one] : known_) {
    const auto connection = one.connection.lock();
    if (!connection || connection->over()) continue;
    if (child != uuid && connection->who(wire::parent).uuid != uuid) continue;
    one.hurt = true;
    connection->kill(uuid);
  }
}

void network::cut(const std::string& child) {
  const auto connection = find(child);
  if (!connection || connection->over()) return;
  known_[child].hurt = true;
  connection->cut("connection reset by peer");
}

void network::make_half_open(const std::string& child) {
  const auto connection = find(child);
  if (!connection || connection->over()) return;
  known_[child].hurt = true;
  connection->half_open();
}

void network::stall(const std::string& child) {
  stalled_ = true;
  if (const auto connection = find(child)) connection->stall();
}

bool network::was_hurt(const std::string& child) const {
  const auto it = known_.find(child);
  return it != known_.end() && it->second.hurt;
}

std::vector<std::string> network::open() const {
  std::vector<std::string> names;
  for (const auto& [child, one] : known_)
    if (const auto connection = one.connection.lock(); connection && !connection->over())
      names.push_back(connection->name());
  return names;
}

}  // namespace coppice::sim
