// SPDX-License-Identifier: Apache-2.0
#include "actor/supervisor.hpp"

#include <fmt/format.h>

#include <utility>

#include "base/assert.hpp"
#include "coppice/channel.hpp"
#include "coppice/errors.hpp"
#include "coppice/event.hpp"
#include "coppice/time.hpp"

namespace coppice::tree {

namespace {
constexpr time_point never = time_point::max();
// A child's connection is gone: for so long we wait to hear how it ended before we end it
// ourselves.
constexpr duration lost_grace = std::chrono::milliseconds(100);

payload no_arguments() { return to_payload(std::map<std::string, std::string>()); }
time_point later(time_point t, duration d) { return d >= never - t ? never : t + d; }
}  // namespace

/// Something that a supervising task has to know. Made on any thread, read on the control loop.
struct supervisor::news {
  enum class kind : std::uint8_t {
    connected,
    lost,
    ready,
    refused,
    ended,
    deaf,
    native_code,
    stop,
    hurry
  };
  kind what;
  ipc::link_ptr link = {};                 // connected
  std::string why = {};                    // lost
  std::exception_ptr error = {};           // refused
  exit_report report = {};                 // ended
  std::optional<stop_policy> policy = {};  // stop
};

/// One child. It is also what its backend reports to, from any thread.
struct supervisor::record final : spawn::child_observer,
                                  std::enable_shared_from_this<supervisor::record> {
  record(core::loop_ref control_loop, start_request r)
      : control(std::move(control_loop)), request(std::move(r)), policy(request.stop) {}

  void tell(news n) {
    control.post([me = shared_from_this(), n = std::move(n)]() mutable { me->take(std::move(n)); });
  }
  void take(news n) {  // Control loop.
    if (n.what == news::kind::ended && quarantined) return came_back();
    const bool room = mailbox.try_send(std::move(n));
    COPPICE_ASSERT(room, "a child's mailbox holds every kind of news once");
  }
  void came_back() {
    if (on_came_back) std::exchange(on_came_back, nullptr)();
  }

  void ended(exit_report how) override {
    tell({.what = news::kind::ended, .report = std::move(how)});
  }
  void cannot_unwind() override { tell({.what = news::kind::deaf}); }
  void in_native_code() override { tell({.what = news::kind::native_code}); }

  const std::string& uuid() const { return request.spec.self.uuid; }
  const std::string& name() const { return request.spec.self.name; }

  const core::loop_ref control;  // Quarantine may outlive the loop.
  start_request request;

  // Control loop only, from here on.
  channel<news> mailbox{256, "news of a child"};
  std::unique_ptr<spawn::child> child;
  ipc::link_ptr link;
  stop_policy policy;
  std::exception_ptr start_error;  // Why it could not be started.
  exit_report report;
  bool up = false;
  bool has_ended = false;
  bool stop_asked = false;  // By its owner, or by the end of the runtime.
  bool climbing = false;    // The ladder has begun, for whatever reason.
  bool link_lost = false;
  bool native_code = false;
  bool hurried = false;
  bool quarantined = false;
  time_point since{};  // In quarantine.
  std::function<void()> on_came_back;
  event done{"a child's end"};
};

supervisor::supervisor(std::shared_ptr<core::loop> control)
    : control_(std::move(control)), close_asked_(std::make_unique<event>("close of supervisor")) {}

supervisor::~supervisor() = default;

// --- any thread
// ------------------------------------------------------------------------------------

void supervisor::start(start_request request) {
  auto r = std::make_shared<record>(control_->ref(), std::move(request));
  control_->post([this, r] {
    if (closing_ || !children_) {
      r->start_error = std::make_exception_ptr(actor_start_error(
          fmt::format("actor '{}' was not started: the runtime ends", r->name())));
      return announce(*r);
    }
    records_.emplace(r->uuid(), r);
    children_->start_soon(
        r->name(),
        [](supervisor* s, std::shared_ptr<record> of) { return s->supervise(std::move(of)); }, this,
        r);
  });
}

void supervisor::stop(std::string uuid, std::optional<stop_policy> policy) {
  control_->post([this, uuid = std::move(uuid), policy] {
    if (auto it = records_.find(uuid); it != records_.end())
      it->second->take({.what = news::kind::stop, .policy = policy});
  });
}

void supervisor::hurry() {
  control_->post([this] {
    for (auto& [uuid, r] : records_) r->take({.what = news::kind::hurry});
  });
}

// --- control loop
// -------------------------------------------------------------------------------------

task<> supervisor::run() {
  co_await open_nursery("children", [this](nursery& n) -> task<> {
    children_ = &n;
    co_await close_asked_->wait();
    children_ = nullptr;
  });
}

void supervisor::close() {
  closing_ = true;
  for (auto& [uuid, r] : records_) r->take({.what = news::kind::stop});
  close_asked_->set();
}

task<> supervisor::supervise(std::shared_ptr<record> r) {
  co_await bring_up(r);
  if (r->up) {
    port::child_changed change;
    change.what = port::child_changed::kind::started;
    change.uuid = r->uuid();
    change.link = r->link;
    r->request.parent->child_changed(std::move(change));
    co_await watch(r);
  }
  if (!r->has_ended && r->child) co_await climb(r);
  co_await end_descendants(r);
  records_.erase(r->uuid());
  announce(*r);
  r->done.set();
  if (r->has_ended) r->child.reset();
}

task<> supervisor::bring_up(std::shared_ptr<record> r) {
  auto& request = r->request;
  const time_point until = later(control_->now(), request.start_within);
  // The handlers run on the parent's thread; all that they do is tell.
  request.parent->adopt(
      r->uuid(),
      {.on_connected =
           [r](ipc::link_ptr l) { r->tell({.what = news::kind::connected, .link = std::move(l)}); },
       .on_lost =
           [r](std::string why) { r->tell({.what = news::kind::lost, .why = std::move(why)}); }});
  try {
    r->child = request.backend->start(request.spec, r);
  } catch (...) {
    r->start_error = std::current_exception();
    co_return;
  }
  co_await wait_for_end(r, until);  // Returns when it is up, too.
  if (r->up || r->start_error) co_return;
  if (r->has_ended)
    r->start_error = std::make_exception_ptr(actor_start_error(
        fmt::format("actor '{}' ended before it was up: {}", r->name(), r->report.text()),
        r->report));
  else if (r->stop_asked)
    r->start_error = std::make_exception_ptr(
        actor_start_error(fmt::format("actor '{}' was stopped before it was up", r->name())));
  else
    r->start_error = std::make_exception_ptr(timeout_error(fmt::format(
        "actor '{}' ({}) was not up within {} s{}", r->name(), r->child->describe(),
        std::chrono::duration<double>(request.start_within).count(),
        r->link ? ": its modules are still being imported" : ": it did not connect back")));
}

task<> supervisor::watch(std::shared_ptr<record> r) {
  while (!r->has_ended && !r->stop_asked && !r->link_lost) co_await wait_for_end(r, never);
  if (r->link_lost && !r->has_ended && !r->stop_asked)
    co_await wait_for_end(r, later(control_->now(), lost_grace));
}

// Takes news until the child has ended or something happened that its phase waits for: coming up, a
// stop, a lost link, a hurry. At most until `until`.
task<> supervisor::wait_for_end(std::shared_ptr<record> r, time_point until) {
  while (!r->has_ended) {
    std::optional<news> n = r->mailbox.try_receive();
    if (!n) {
      const duration left = until == never ? duration::max() : until - control_->now();
      if (left <= duration::zero()) co_return;
      auto got = co_await move_on_after(left, [](std::shared_ptr<record> of) -> task<news> {
        auto one = co_await of->mailbox.receive();
        co_return std::move(*one);
      }(r));
      if (!got) co_return;
      n = std::move(*got);
    }
    switch (n->what) {
      case news::kind::connected: {
        r->link = std::move(n->link);
        r->link->send(r->request.spec.spec);
        r->request.parent->request(
            r->link, "self", "wait_ready", no_arguments(), [r](port::reply&& reply) {
              if (reply.how == port::reply::kind::value)
                r->tell({.what = news::kind::ready});
              else if (reply.how == port::reply::kind::error)
                r->tell({.what = news::kind::refused, .error = reply.to_exception(r->name())});
            });
        break;
      }
      case news::kind::ready:
        r->up = true;
        co_return;
      case news::kind::refused:
        if (r->climbing || r->start_error) break;  // It failed because it is being stopped.
        r->start_error = n->error;
        co_return;
      case news::kind::ended:
        r->has_ended = true;
        r->report.how = n->report.how;
        r->report.status = n->report.status;
        r->report.detail = std::move(n->report.detail);
        co_return;
      case news::kind::lost:
        r->link_lost = true;
        r->report.detail = n->why;
        if (r->up && !r->stop_asked && !r->climbing) co_return;
        break;
      case news::kind::deaf:
        if (r->report.rung == rung::interrupted) co_return;
        break;
      case news::kind::native_code:
        r->native_code = true;
        if (r->climbing) co_return;
        break;
      case news::kind::hurry:
        r->hurried = true;
        if (r->climbing) co_return;
        break;
      case news::kind::stop: {
        const bool first = !std::exchange(r->stop_asked, true);
        if (n->policy) r->policy = *n->policy;
        if (first && !r->climbing) co_return;
        break;
      }
    }
  }
}

// The ladder. Each rung is given its bound, none more than what is left of the total.
task<> supervisor::climb(std::shared_ptr<record> r) {
  const time_point begun = control_->now();
  const auto& policy = r->policy;
  const time_point end = later(begun, policy.total);
  // The gentle rungs leave force its share, at most half, of a total that is too short for all.
  const duration share = policy.may_force ? std::min(policy.force, policy.total / 2) : duration{};
  const auto until = [&](duration d) { return std::min(later(control_->now(), d), end); };
  const auto gently = [&](duration d) { return std::min(later(control_->now(), d), end - share); };
  r->climbing = true;

  if (r->link && !r->link_lost && !r->hurried) {
    r->report.rung = rung::asked;
    r->request.parent->request(r->link, "self", "cancel", no_arguments(), [](port::reply&&) {});
    const time_point limit = gently(policy.ask);
    co_await wait_for_end(r, std::min(limit, gently(policy.unseen)));
    const bool looks = !r->has_ended && r->child->cancel_seen();
    if (looks && !r->hurried) co_await wait_for_end(r, limit);
  }
  if (!r->has_ended) stop_descendants(*r);
  bool has_rungs = false;
  if (!r->has_ended && !r->native_code && r->child->interrupt()) {
    has_rungs = true;
    r->report.rung = rung::interrupted;
    co_await wait_for_end(r, gently(policy.interrupt));
  }
  if (!r->has_ended && !r->native_code && policy.may_force && r->child->force()) {
    has_rungs = true;
    r->report.rung = rung::forced;
    co_await wait_for_end(r, until(policy.force));
    if (r->has_ended) ++forced_stops_;
  }
  // Only waiting is left to a backend without rungs: it gets what remains of the total.
  if (!r->has_ended && !has_rungs && !r->native_code) co_await wait_for_end(r, end);
  r->report.took = control_->now() - begun;
  if (r->has_ended) co_return;

  r->report.rung = rung::abandoned;
  r->report.how = exit_report::cause::abandoned;
  r->report.detail = r->child->describe();
  r->quarantined = true;
  r->since = control_->now();
  quarantine_.emplace(r->uuid(), r);
  r->on_came_back = [this, uuid = r->uuid()] {
    // Kept until here by the list alone; the child ends with the record.
    if (auto node = quarantine_.extract(uuid)) node.mapped()->child.reset();
  };
  r->child->abandon();
}

void supervisor::stop_descendants(const record& r) {
  for (auto& [uuid, other] : records_)
    if (other->request.spec.parent.uuid == r.uuid()) other->take({.what = news::kind::stop});
}

task<> supervisor::end_descendants(std::shared_ptr<record> r) {
  stop_descendants(*r);
  for (;;) {
    std::shared_ptr<record> next;
    for (auto& [uuid, other] : records_)
      if (other->request.spec.parent.uuid == r->uuid()) next = other;
    if (!next) co_return;
    co_await next->done.wait();
  }
}

void supervisor::announce(record& r) {
  port::child_changed change;
  change.uuid = r.uuid();
  change.report = r.report;
  if (r.up) {
    change.what = port::child_changed::kind::ended;
    change.requested = r.stop_asked;
  } else {
    change.what = port::child_changed::kind::start_failed;
    change.error = r.start_error;
  }
  r.request.parent->child_changed(std::move(change));
}

std::vector<quarantine_entry> supervisor::quarantined() const {
  std::vector<quarantine_entry> out;
  for (const auto& [uuid, r] : quarantine_)
    out.push_back({{r->name(), uuid}, r->report.detail, r->since});
  return out;
}

void supervisor::describe(base::tree_writer& w) const {
  for (const auto& [uuid, r] : records_)
    w.line(fmt::format(
        "child '{}' of '{}': {}{}", r->name(), r->request.spec.parent.name,
        r->child ? r->child->describe() : "starting",
        r->stop_asked ? fmt::format(", stopping ({})", to_string(r->report.rung)) : ""));
  for (const auto& [uuid, r] : quarantine_)
    w.line(fmt::format("quarantine: '{}': {}", r->name(), r->report.detail));
}

}  // namespace coppice::tree
