// SPDX-License-Identifier: Apache-2.0
// Peers send any messages in any order while the actor itself calls, serves, cancels and ends:
// every request gets exactly one reply, a breach costs one link, and nothing grows without bound.
#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/uuid.hpp"
#include "coppice/errors.hpp"
#include "coppice/value.hpp"
#include "fuzz.hpp"
#include "port/call_table.hpp"

namespace coppice::port {
namespace {

constexpr table_limits small{
    .calls_per_peer_max = 4, .payload_bytes_max = 200, .stream_bytes_per_peer_max = 600};
constexpr registry_limits few{
    .actors_max = 3, .addresses_per_actor_max = 2, .waiters_per_peer_max = 2, .text_bytes_max = 20};
constexpr std::size_t steps_max = 200;
const char* const names[] = {"child", "parent", "peer", "other"};
constexpr std::size_t peers = std::size(names);

uid uid_of(std::size_t peer) { return {names[peer], std::string("uuid-of-") + names[peer]}; }

class silent_link final : public ipc::link {
 public:
  explicit silent_link(std::size_t peer) : is_local_(peer < 2) {
    peer_.name = uid_of(peer).name;
    peer_.uuid = uid_of(peer).uuid;
    if (peer % 2 != 0) peer_.extensions = msg::extensions{.ext = {"credit"}};
  }
  void send(msg::message, ipc::urgency) override {}
  void close(std::string) override {}
  bool is_local() const noexcept override { return is_local_; }
  std::string describe() const override { return "nowhere"; }

 private:
  const bool is_local_;
};

class world {
 public:
  explicit world(fuzz::input& in) : in_(in) {}

  void run() {
    for (std::size_t i = 0; i < steps_max && !in_.empty(); ++i) {
      step();
      settle();
    }
    end();
  }

 private:
  struct own_call {
    request_id id = 0;
    int heard = 0;
    bool forgotten = false;
    bool is_dialog = false;  // Not yet released.
  };
  struct served {
    call_id id = 0;
    bool acknowledged = false;  // Or has a dialog.
    bool started = false;
  };
  struct peer {
    std::shared_ptr<silent_link> link;
    bool is_connected = false;  // As far as the table was told.
  };
  // What the table said last of a dialog; until an event says otherwise, it says it again.
  struct told {
    bool started = false, nothing = false, full = false;
  };

  void step() {
    peer& who = peers_[in_.below(peers)];
    switch (in_.below(20)) {
      case 0:
        return connect(who);
      case 1:
        return disconnect(who);
      case 2:
        return call(who);
      case 3:
        return give_up_one();
      case 4:
      case 5:
        return finish_one();
      case 6:
        return actor_step();
      case 7:
        return family_step();
      case 16:
        return open(who);
      case 17:
        return of_the_caller();
      case 18:
        return of_the_callee();
      case 19:
        if (const dialog_id id = any_dialog(); id != 0) of_either_end(id);
        return;
      default:
        if (who.is_connected) table_.message(who.link, any_message(who), out_);
    }
  }

  void connect(peer& who) {
    if (who.is_connected) return;
    who.link = std::make_shared<silent_link>(static_cast<std::size_t>(&who - peers_));
    who.is_connected = true;
    table_.connected(who.link, out_);
  }
  void disconnect(peer& who) {
    if (!std::exchange(who.is_connected, false)) return;
    table_.closed(who.link, "gone", out_);
  }
  static payload arguments_of(std::size_t bytes) {
    return to_payload(std::map<std::string, std::string>{{"x", std::string(bytes, 'x')}});
  }
  void call(peer& who) {
    if (!who.link) return;
    own_call& c = calls_.emplace_back();
    const std::size_t size = in_.byte();
    try {
      c.id = table_.request(
          who.link, "mod", "f", arguments_of(size), [&c](reply&&) { ++c.heard; }, out_);
      COPPICE_ASSERT(arguments_of(size).size() <= small.payload_bytes_max,
                     "too large a call is refused");
    } catch (const limit_exceeded&) {
      COPPICE_ASSERT(arguments_of(size).size() > small.payload_bytes_max, "and no other");
      calls_.pop_back();
    }
  }
  void open(peer& who) {
    if (!who.link) return;
    own_call& c = calls_.emplace_back();
    c.is_dialog = true;
    const auto kind = in_.below(2) != 0 ? msg::call_kind::context : msg::call_kind::asyncgen;
    c.id = table_.open_dialog(
        who.link, "mod", "d", arguments_of(1), kind, any_window(), [&c](reply&&) { ++c.heard; },
        out_);
  }
  void give_up_one() {
    if (calls_.empty()) return;
    own_call& c = calls_[in_.below(calls_.size())];
    if (in_.below(2) != 0) return table_.cancel_request(c.id, out_);
    table_.forget(c.id);
    c.forgotten = true;
    told_.erase(c.id);  // Who forgets is not told.
  }
  void finish_one() {
    if (serving_.empty()) return;
    std::swap(serving_[in_.below(serving_.size())], serving_.back());
    served& s = serving_.back();
    (void)table_.was_cancelled(s.id);
    switch (in_.below(5)) {
      case 0:  // Begun, not finished.
        s.acknowledged = true;
        return table_.acknowledge(s.id, static_cast<msg::call_kind>(in_.below(3)), out_);
      case 1:
        table_.finish(s.id, failure(), out_);
        break;
      case 2:
        table_.finish_stream(s.id, out_);
        break;
      default:
        table_.finish(s.id, to_payload(std::string(in_.byte(), 'y')), out_);
    }
    told_.erase(s.id);
    serving_.pop_back();
  }

  stream_window any_window() {
    return {.messages = 1 + static_cast<std::uint32_t>(in_.below(4)), .bytes = 1u << in_.below(9)};
  }
  void of_the_caller() {
    if (calls_.empty()) return;
    own_call& c = calls_[in_.below(calls_.size())];
    if (!c.is_dialog) return;
    if (in_.below(2) != 0) return table_.fail_dialog(c.id, failure(), out_);
    if (c.heard == 0 && !c.forgotten) return;
    table_.release(c.id);
    c.is_dialog = false;
    told_.erase(c.id);
  }
  void of_the_callee() {
    if (serving_.empty()) return;
    served& s = serving_[in_.below(serving_.size())];
    if (!std::exchange(s.acknowledged, true)) {
      const auto kind = in_.below(2) != 0 ? msg::call_kind::context : msg::call_kind::asyncgen;
      table_.accept_dialog(s.id, kind, any_window(), out_);
    } else if (!std::exchange(s.started, true)) {
      table_.start_dialog(s.id, to_payload(1), out_);
    }
  }
  dialog_id any_dialog() {
    const std::size_t n = in_.byte();
    if (n % 2 == 0) return serving_.empty() ? 0 : serving_[n / 2 % serving_.size()].id;
    return calls_.empty() ? 0 : calls_[n / 2 % calls_.size()].id;
  }
  void of_either_end(dialog_id id) {
    (void)table_.peer_opened(id);
    switch (in_.below(8)) {
      case 0:
        told_[id] = {};  // Closing is no event to who closes.
        return table_.stop(id, out_);
      case 1:
        return table_.open_stream(id, any_window(), in_.below(2) != 0, out_);
      case 2:
      case 3:
      case 4: {
        payload one = to_payload(std::string(in_.below(64), 'z'));
        const auto outcome = table_.send(id, std::move(one), out_);
        const bool full = outcome == send_outcome::full;
        COPPICE_ASSERT(full || !told_[id].full, "`writable` follows `full`");
        told_[id].full = full;
        return;
      }
      default: {
        const taken t = table_.take(id, out_);
        const bool nothing = t.what == taken::kind::nothing;
        COPPICE_ASSERT(nothing || !told_[id].nothing, "`readable` follows `nothing`");
        told_[id].nothing = nothing;
      }
    }
  }
  void actor_step() {
    const remote_error_info broken = failure();
    switch (in_.below(7)) {
      case 5:
        if (!std::exchange(is_registrar_, true))
          table_.become_registrar(few, [this](const std::string& uuid) { asked_.push_back(uuid); });
        return;
      case 6: {
        if (asked_.empty()) return;
        registry::addresses at;
        if (in_.below(2) != 0) at.push_back(any_address());
        table_.published(asked_.back(), at, out_);
        return asked_.pop_back();
      }
      case 0:
        return table_.set_ready(nullptr, out_);
      case 1:
        return table_.set_ready(&broken, out_);
      case 2:
        return table_.acknowledge_cancel(out_);
      case 3: {
        base::tree_writer w;
        return table_.describe(w);
      }
      default:
        if (in_.below(8) == 0) table_.close("enough", out_);
    }
  }
  void family_step() {
    switch (in_.below(3)) {
      case 0:
        return table_.set_parent(uid_of(1).uuid);
      case 1:
        if (std::exchange(adopted_, true)) return;
        return table_.adopt(uid_of(0).uuid,
                            {.on_connected = [this](ipc::link_ptr) { ++met_; },
                             .on_lost = [this](std::string) { ++lost_; }},
                            out_);
      default:
        adopted_ = false;
        met_ = lost_ = 0;
        return table_.child_ended(uid_of(0).uuid, {}, out_);
    }
  }

  remote_error_info failure() {
    remote_error_info e;
    e.type = e.source_type = in_.below(2) != 0 ? "ContextCancelled" : "ValueError";
    e.message = in_.text(in_.below(4));
    return e;
  }

  // Half of the time one of those in use.
  std::string any_cid() {
    const std::size_t n = in_.byte();
    if (n % 2 == 0 && !cids_.empty()) return cids_[n / 2 % cids_.size()];
    return std::string(1, static_cast<char>('a' + n / 2 % 8));
  }

  msg::message any_message(const peer& from) {
    const auto self = uid_of(static_cast<std::size_t>(&from - peers_));
    switch (in_.below(18)) {
      case 16:
      case 17:
        return registrar_call(self);
      case 12:
      case 13:
        return msg::yield{any_cid(), to_payload(std::string(in_.byte(), 'v'))};
      case 14:
        return msg::credit{any_cid(), in_.byte() * 0x0101'0101u,
                           std::uint64_t{in_.byte()} << in_.below(64)};
      case 15: {
        const auto kind = static_cast<msg::call_kind>(in_.below(3));
        const msg::stream_credit credit{static_cast<std::uint32_t>(in_.below(8)), in_.byte()};
        if (in_.below(2) != 0) return msg::start_ack{any_cid(), kind, credit};
        msg::start m{any_cid(), "mod", "d", to_payload(std::map<std::string, int>()), self};
        m.credit = credit;
        return m;
      }
      case 0:
        return msg::returned{any_cid(), to_payload(1)};
      case 1:
        return msg::to_message(failure(), any_cid());
      case 2:
        return msg::start_ack{any_cid(), static_cast<msg::call_kind>(in_.below(3))};
      case 3:
        return msg::cancel_ack{any_cid(), true};
      case 4: {
        std::map<std::string, std::string> arguments{{"cid", any_cid()}};
        return msg::start{any_cid(), "self", "_cancel_task", to_payload(arguments), self};
      }
      case 5: {
        constexpr const char* own[] = {"cancel", "wait_ready", "_cancel_task", "nothing"};
        return msg::start{any_cid(), "self", own[in_.below(4)],
                          to_payload(std::map<std::string, int>()), self};
      }
      case 6:
        return msg::yield{any_cid(), to_payload(2)};
      case 7:
        return msg::started{any_cid(), to_payload(3)};
      case 8:
        return msg::stop{any_cid()};
      case 9:
        return decoded(in_.bytes(in_.byte()));
      default:
        return msg::start{any_cid(), "mod", "g", to_payload(std::map<std::string, int>()),
                          in_.below(16) == 0 ? uid{"someone", "else"} : self};
    }
  }
  msg::wire_address any_address() {
    const std::string host = in_.below(2) != 0 ? "d" : "";
    if (in_.below(2) != 0) return msg::tcp_address{host, static_cast<std::uint16_t>(in_.below(3))};
    return msg::uds_address{host, uid_of(in_.below(peers)).uuid};
  }
  msg::start registrar_call(const uid& self) {
    constexpr const char* methods[] = {"register_actor", "find_actor",  "wait_for_actor",
                                       "get_registry",   "delete_addr", "unregister_actor"};
    const std::size_t given = in_.byte();  // Of the arguments that there are.
    std::map<std::string, value> arguments;
    const uid who = uid_of(in_.below(peers));
    if (given & 1) arguments["uid"] = value::of(who);
    if (given & 2) arguments["addr"] = value::of(any_address());
    if (given & 4) arguments["name"] = value::of(given & 128 ? who.uuid : who.name);
    if (given & 8) arguments["held"] = value::of((given & 16) != 0);
    if (given & 32) arguments["here"] = value::of((given & 64) != 0);
    return {any_cid(), "self", methods[in_.below(6)], to_payload(arguments), self};
  }
  // What only bytes can say.
  static msg::message decoded(std::span<const std::byte> bytes) {
    try {
      return msg::decode(fuzz::payload_of(bytes));
    } catch (const error&) {
      return msg::stop{"x"};
    }
  }

  void settle() {
    for (auto& e : out_.events) note(e);
    for (auto& s : out_.sends) {
      COPPICE_ASSERT(s.to != nullptr, "something is sent to somebody");
      auto* m = std::get_if<msg::start>(&s.message);
      if (m && cids_.size() < 64) cids_.push_back(m->cid);
      const auto* r = std::get_if<msg::returned>(&s.message);
      COPPICE_ASSERT(!r || s.to->is_local() || !names_in_process(r->pld),
                     "an address of this process never leaves it");
      msgpack::buffer frame;
      const bool ours = s.to->peer().extensions.has_value();  // What is sent can be sent.
      msg::encode_frame(s.message, frame, ours ? msg::dialect::coppice : msg::dialect::tractor);
    }
    for (auto& n : out_.notices) n();
    auto closes = std::move(out_.closes);
    out_ = {};
    COPPICE_ASSERT(met_ <= 1 && lost_ <= 1, "a supervisor is told once of a link and of its loss");
    for (const own_call& c : calls_) COPPICE_ASSERT(c.heard <= 1, "a request has one reply");
    COPPICE_ASSERT(table_.served() == serving_.size(), "what was begun is served until finished");
    COPPICE_ASSERT(
        table_.served() <= peers * small.calls_per_peer_max + cancelled_of_lost_links_max(),
        "calls have a limit for each link");
    for (auto& c : closes) {  // A link that is closed says so.
      for (peer& p : peers_)
        if (p.link == c.link) disconnect(p);
    }
    if (!closes.empty()) settle();
  }
  // Does it hold an address without a directory, ["", uuid]?
  static bool names_in_process(const payload& p) {
    const std::string_view all(reinterpret_cast<const char*>(p.bytes().data()), p.size());
    for (std::size_t at = all.find("\x92\xa0"); at != all.npos; at = all.find("\x92\xa0", at + 1))
      if (all.substr(at + 3).starts_with("uuid-of-")) return true;
    return false;
  }
  void note(const event& e) {
    if (const auto* s = std::get_if<call_started>(&e)) serving_.push_back({.id = s->id});
    const auto* d = std::get_if<dialog_changed>(&e);
    if (!d) return;
    told& t = told_[d->id];
    switch (d->what) {
      case dialog_changed::kind::started:
        COPPICE_ASSERT(!std::exchange(t.started, true), "a dialog starts once");
        break;
      case dialog_changed::kind::readable:
        t.nothing = false;
        break;
      case dialog_changed::kind::writable:
        t.full = false;
        break;
      case dialog_changed::kind::failed:
        break;
    }
  }
  // Calls whose link has gone are still being served: the actor's code takes its time.
  std::size_t cancelled_of_lost_links_max() const {
    return static_cast<std::size_t>(std::ranges::count_if(
        serving_, [&](const served& s) { return table_.was_cancelled(s.id); }));
  }

  void end() {
    table_.close("over", out_);
    settle();
    for (peer& p : peers_) disconnect(p);
    settle();
    for (const own_call& c : calls_)
      COPPICE_ASSERT(c.heard == 1 || c.forgotten, "every request gets its reply");
    while (!serving_.empty()) {
      table_.finish(serving_.back().id, payload(), out_);
      serving_.pop_back();
      settle();
    }
    COPPICE_ASSERT(table_.served() == 0, "and every served call its end");
    for (const own_call& c : calls_) table_.release(c.id);
    if (is_registrar_) return;  // Its table stays.
    base::tree_writer left;
    table_.describe(left);
    COPPICE_ASSERT(left.text().empty(), "nothing stays");
  }

  fuzz::input& in_;
  call_table table_{{"me", "uuid-of-me"}, small};
  effects out_;
  peer peers_[peers];
  std::deque<own_call> calls_;  // Handlers point into it.
  std::vector<served> serving_;
  std::map<dialog_id, told> told_;
  std::vector<std::string> cids_;
  bool adopted_ = false;
  int met_ = 0, lost_ = 0;
  bool is_registrar_ = false;
  std::vector<std::string> asked_;  // uuids of actors that are asked to listen.
};

}  // namespace
}  // namespace coppice::port

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace coppice;
  base::seed_uuids(1);  // The same ids on every run of an input.
  fuzz::input in(data, size);
  port::world(in).run();
  return 0;
}
