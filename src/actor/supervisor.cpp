// SPDX-License-Identifier: Apache-2.0
#include "actor/supervisor.hpp"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "base/uuid.hpp"
#include "coppice/channel.hpp"
#include "coppice/errors.hpp"
#include "coppice/event.hpp"
#include "coppice/kw.hpp"
#include "coppice/time.hpp"

namespace coppice::tree {

namespace {
constexpr time_point never = time_point::max();
// A child's connection is gone: for so long we wait to hear how it ended before we end it
// ourselves.
constexpr duration lost_grace = std::chrono::milliseconds(50);
// A child has ended: for so long we wait for the end of its connection. Somebody who was forked
// from it may keep that open, and those who wait for its answers are to hear of its end soon.
constexpr duration hear_out_within = std::chrono::milliseconds(50);
// The longest on any rung but the last once somebody is in a hurry: enough for whoever unwinds at
// all.
constexpr duration hurried_max = std::chrono::milliseconds(100);

time_point later(time_point t, duration d) { return d >= never - t ? never : t + d; }

/// Of descriptors, threads, processes or memory.
bool is_limit(const std::error_code& e) {
  return e == std::errc::too_many_files_open || e == std::errc::too_many_files_open_in_system ||
         e == std::errc::resource_unavailable_try_again || e == std::errc::not_enough_memory;
}

/// Of a backend's start that throws: what it threw, or which limit this process is at.
std::exception_ptr why_not_begun(const std::string& name) {
  try {
    throw;
  } catch (const std::system_error& e) {
    if (!is_limit(e.code())) return std::current_exception();
    return std::make_exception_ptr(actor_start_error(
        fmt::format("actor '{}' cannot be started: {}; this process is at a limit: raise it "
                    "(`ulimit -a` shows them), or run fewer actors in it",
                    name, e.what())));
  } catch (...) {
    return std::current_exception();
  }
}

/// A further request: it may shorten what is under way, never prolong it.
void tighten(stop_policy& now, const stop_policy& asked) {
  for (auto rung : {&stop_policy::ask, &stop_policy::unseen, &stop_policy::interrupt,
                    &stop_policy::force, &stop_policy::total})
    now.*rung = std::min(now.*rung, asked.*rung);
  now.may_force = now.may_force || asked.may_force;
}
}  // namespace

/// One child. It is also what its backend reports to, from any thread: each report becomes a fact
/// about the child on the control loop, and the task that supervises it looks at the facts again.
///
/// # Why facts, not a queue of news?
/// A queue has a limit, and news that is read in the wrong phase is lost. Facts are neither.
struct supervisor::record final : spawn::child_observer,
                                  std::enable_shared_from_this<supervisor::record> {
  record(core::loop_ref control_loop, start_request r)
      : control(std::move(control_loop)), request(std::move(r)), policy(request.stop) {}

  /// Any thread: states a fact on the control loop.
  template <class F>
  void tell(F fact) {
    control.post(stating(std::move(fact)));
  }
  /// The same, of what nobody waits for: it is seen with the next one.
  template <class F>
  void tell_quietly(F fact) {
    control.post_quiet(stating(std::move(fact)));
  }
  template <class F>
  auto stating(F fact) {
    return [me = shared_from_this(), fact = std::move(fact)]() mutable {
      fact(*me);
      me->look();
    };
  }
  /// Control loop: the supervising task is to look again. A look that is still to come is enough.
  void look() { (void)looks.try_send('!'); }

  void ended(exit_report how) override {
    tell([how = std::move(how)](record& r) mutable {
      if (r.has_ended) return;
      r.has_ended = true;
      if (r.quarantined) {
        r.came_back_as = std::move(how);
        return r.came_back();
      }
      r.report.how = how.how;
      r.report.status = how.status;
      // Else the reason why its connection ended, if that came first, is all that is known.
      if (!how.detail.empty()) r.report.detail = std::move(how.detail);
    });
  }
  void cannot_unwind() override {
    tell([](record& r) { r.deaf = true; });
  }
  void in_native_code() override {
    tell([](record& r) { r.native_code = true; });
  }
  void ask_to_stop(const std::optional<stop_policy>& how) {  // Control loop.
    const bool first = !std::exchange(stop_asked, true);
    if (how && first && !climbing)
      policy = *how;
    else if (how)
      tighten(policy, *how);
    look();
  }
  /// It was abandoned, and has ended after all: told behind its end, whenever that is told.
  void came_back() {
    if (announced && on_came_back) std::exchange(on_came_back, nullptr)();
  }

  bool over() const { return has_ended || stop_asked; }
  const std::string& uuid() const { return request.spec.self.uuid; }
  const std::string& name() const { return request.spec.self.name; }

  const core::loop_ref control;  // Quarantine may outlive the loop.
  start_request request;

  // Control loop only, from here on.
  channel<char> looks{1, "news of a child"};
  std::unique_ptr<spawn::child> child;
  stop_policy policy;
  std::exception_ptr start_error;  // Why it could not be started.
  exit_report report;
  event done{"a child's end"};

  // Facts.
  ipc::link_ptr link;
  bool prepared = false;
  bool up = false;
  bool listed = false;
  bool has_ended = false;
  bool stop_asked = false;  // By its owner, or by the end of the runtime.
  bool link_lost = false;
  std::string lost_why;
  bool deaf = false;         // Since its present rung began.
  bool native_code = false;  // Likewise.
  bool hurried = false;

  // How far it is.
  bool climbing = false;  // The ladder has begun, for whatever reason.
  time_point climb_began{};
  bool asked = false;    // It was sent the request to end.
  bool leaving = false;  // Only its descendants are waited for: it gets no new ones.
  bool quarantined = false;
  time_point since{};      // In quarantine.
  bool announced = false;  // Its end, or that it never began.
  exit_report came_back_as;
  std::function<void()> on_came_back;
};

supervisor::supervisor(std::shared_ptr<core::loop> control)
    : control_(std::move(control)), close_asked_(std::make_unique<event>("close of supervisor")) {}

supervisor::~supervisor() = default;

// --- any thread ----------------------------------------------------------------------------------

void supervisor::start(start_request request) {
  auto r = std::make_shared<record>(control_->ref(), std::move(request));
  expect_link(r);
  control_->post([this, r] {
    const std::string& above = r->request.spec.parent.uuid;
    const auto parent = records_.find(above);
    // An abandoned one's code may come back: nobody would stop what it starts.
    const bool orphan =
        (parent != records_.end() && parent->second->leaving) || quarantine_.contains(above);
    const char* why = closing_ || !children_ ? "the runtime ends"
                      : orphan               ? "its parent has ended"
                                             : nullptr;
    if (why) {
      r->start_error = std::make_exception_ptr(
          actor_start_error(fmt::format("actor '{}' was not started: {}", r->name(), why)));
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
    if (auto it = records_.find(uuid); it != records_.end()) it->second->ask_to_stop(policy);
  });
}

void supervisor::hurry() {
  control_->post([this] {
    for (auto& [uuid, r] : records_) {
      r->hurried = true;
      r->look();
    }
  });
}

// --- control loop --------------------------------------------------------------------------------

task<> supervisor::run() {
  co_await open_nursery("children", [this](nursery& n) -> task<> {
    children_ = &n;
    co_await close_asked_->wait();
    children_ = nullptr;
  });
}

void supervisor::close() {
  closing_ = true;
  for (auto& [uuid, r] : records_) r->ask_to_stop({});
  close_asked_->set();
}

task<> supervisor::supervise(std::shared_ptr<record> r) {
  auto life = detail::take(live(r));
  auto how = co_await detail::captured<void>(std::move(life));
  // No child's trouble may become the others': an error here would end every supervising task.
  if (how.error()) {
    r->report.detail = "its supervision failed: " + describe_exception(how.error());
    if (!r->up && !r->start_error) r->start_error = how.error();
    if (r->child && !r->has_ended && !r->quarantined) give_up(r);
  }
  records_.erase(r->uuid());
  const bool has_left = !r->request.backend->can().in_process && r->report.status == 0 &&
                        r->report.how == exit_report::cause::exited;
  if (directory_) directory_->strike_off({r->name(), r->uuid()}, has_left);
  announce(*r);
  r->done.set();
  if (!r->has_ended) co_return;
  if (r->quarantined) r->came_back();
  r->child.reset();
}

task<> supervisor::live(std::shared_ptr<record> r) {
  co_await bring_up(r);
  if (r->up && directory_ && r->request.backend->can().in_process) co_await enlist(r);
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
  if (r->has_ended) co_await hear_out(r);
}

task<> supervisor::bring_up(std::shared_ptr<record> r) {
  auto& request = r->request;
  const time_point until = later(control_->now(), request.start_within);
  co_await prepare(r, until);
  if (r->start_error) co_return;
  try {
    r->child = request.backend->start(request.spec, r);
  } catch (...) {
    r->start_error = why_not_begun(r->name());
    co_return;
  }
  co_await wait(
      r, [](const record& x) { return x.up || x.start_error || x.over() || x.link_lost; }, until);
  if (r->link_lost && !r->up && !r->start_error) co_await wait_for_report(r);
  if (!r->up && !r->start_error) r->start_error = why_not_up(*r);
}

// Until it is known all that its backend has to be told. A start that is over by then is none.
task<> supervisor::prepare(std::shared_ptr<record> r, time_point until) {
  if (r->request.prepare) {
    r->request.prepare(r->request.spec, [r](std::exception_ptr e) {
      r->prepared = true;
      if (!r->start_error) r->start_error = std::move(e);
      r->look();
    });
    co_await wait(r, [](const record& x) { return x.prepared || x.over(); }, until);
    if (!r->prepared && !r->over())
      r->start_error = std::make_exception_ptr(timeout_error(
          fmt::format("actor '{}' was not started within {} s: its parent's loop, on which it "
                      "would be listened "
                      "for, is busy",
                      r->name(), std::chrono::duration<double>(r->request.start_within).count())));
  }
  if (r->over() && !r->start_error) r->start_error = why_not_up(*r);
}

// On the thread that starts it: the control loop need not wake the parent's to have it done there.
void supervisor::expect_link(const std::shared_ptr<record>& r) {
  auto lost = [r](std::string why) {
    r->tell([why = std::move(why)](record& of) {
      of.link_lost = true;
      of.lost_why = why;
    });
  };
  auto connected = [r](const ipc::link_ptr& l) { greet(r, l); };
  r->request.parent->adopt(r->uuid(), {.on_connected = connected, .on_lost = lost});
}

// The child has connected: it is told what it is to be, and asked whether it can serve. One of
// tractor's would end over that question, and C++ in this process has nothing to import: they take
// calls at once, and answer when they can. On the thread that connects them, which may be the
// child's own: neither the parent's loop nor this one need wake up only to pass it on. What this
// reads of the record was settled before the start.
void supervisor::greet(const std::shared_ptr<record>& r, const ipc::link_ptr& l) {
  const start_request& request = r->request;
  const bool is_ours_here = request.spec.native && request.backend->can().in_process;
  l->send(request.spec.spec);
  if (is_ours_here || !l->peer().extensions) {
    return r->tell([l](record& of) {
      of.link = l;
      of.up = !of.start_error;
    });
  }
  r->tell_quietly([l](record& of) { of.link = l; });
  request.parent->request(l, "self", "wait_ready", to_kwargs(), [r](port::reply&& reply) {
    if (reply.how == port::reply::kind::value)
      r->tell([](record& of) {
        // Once its start has failed it may not have succeeded.
        if (!of.start_error) of.up = true;
      });
    else if (reply.how == port::reply::kind::error)
      r->tell([e = reply.to_exception(r->name())](record& of) {
        // Once it is being stopped, it fails because of that.
        if (!of.climbing && !of.start_error) of.start_error = e;
      });
  });
}

std::exception_ptr supervisor::why_not_up(const record& r) {
  if (r.has_ended)
    return std::make_exception_ptr(actor_start_error(
        fmt::format("actor '{}' ended before it was up: {}", r.name(), r.report.text()), r.report));
  if (r.stop_asked)
    return std::make_exception_ptr(
        actor_start_error(fmt::format("actor '{}' was stopped before it was up", r.name())));
  if (r.link_lost)
    return std::make_exception_ptr(actor_start_error(fmt::format(
        "actor '{}' closed its connection before it was up: {}", r.name(), r.lost_why)));
  return std::make_exception_ptr(timeout_error(fmt::format(
      "actor '{}' ({}) was not up within {} s{}", r.name(), r.child->describe(),
      std::chrono::duration<double>(r.request.start_within).count(),
      r.link ? ": its modules are still being imported" : ": it did not connect back")));
}

// Others register themselves before they say that they are up.
task<> supervisor::enlist(std::shared_ptr<record> r) {
  const std::string& parent = r->request.spec.parent.uuid;
  directory_->enlist({r->name(), r->uuid()}, parent, [r](std::exception_ptr e) {
    r->listed = true;
    r->start_error = std::move(e);
    r->look();
  });
  co_await wait(
      r, [](const record& x) { return x.listed || x.over() || x.link_lost; },
      later(control_->now(), r->request.start_within));
  if (!r->listed && !r->over() && !r->link_lost)
    r->start_error = std::make_exception_ptr(
        timeout_error(fmt::format("actor '{}' was not registered in time", r->name())));
  if (r->start_error) r->up = false;
}

task<> supervisor::watch(std::shared_ptr<record> r) {
  co_await wait(r, [](const record& x) { return x.over() || x.link_lost; }, never);
  if (!r->link_lost) co_return;
  co_await wait_for_report(r);
  if (r->has_ended) co_return;
  // It may take its whole ladder to end: whoever waits for it learns now that it is lost.
  port::child_changed change;
  change.what = port::child_changed::kind::lost;
  change.uuid = r->uuid();
  change.report.detail = r->lost_why;
  r->request.parent->child_changed(std::move(change));
}

// Its connection is gone: most likely it has ended, and its backend is about to say how.
task<> supervisor::wait_for_report(std::shared_ptr<record> r) {
  const time_point until = later(control_->now(), lost_grace);
  co_await wait(r, [](const record& x) { return x.over(); }, until);
  if (!r->has_ended) r->report.detail = r->lost_why;
}

// It has ended, but what it said before may still be on its way. Its connection closes behind that:
// then its calls end with its answers, and only the others with its death.
task<> supervisor::hear_out(std::shared_ptr<record> r) {
  const time_point until = later(control_->now(), hear_out_within);
  co_await wait(r, [](const record& x) { return !x.link || x.link_lost; }, until);
}

// Until something is so, at most until `until`.
task<> supervisor::wait(std::shared_ptr<record> r, bool (*so)(const record&), time_point until) {
  while (!so(*r) && control_->now() < until) co_await look_again(r, until);
}

// The wait on one rung of the ladder, at most `bound` of the policy, whose total leaves a share to
// the rungs above. The bounds are read anew at each look: a hurry or a stricter request shortens
// them.
task<> supervisor::wait_on_rung(std::shared_ptr<record> r, duration stop_policy::* bound,
                                bool (*so)(const record&)) {
  const bool asking = bound == &stop_policy::unseen || bound == &stop_policy::ask;
  const time_point began = asking ? r->climb_began : control_->now();
  for (;;) {
    const stop_policy& p = r->policy;
    const auto share = [&](duration d) { return std::min(d, p.total / 4); };
    duration longest = p.*bound, rest{};
    if (asking) rest += share(p.interrupt);
    if (asking || bound == &stop_policy::interrupt)
      rest += p.may_force ? share(p.force) : duration();
    if (r->hurried && bound != &stop_policy::force) longest = std::min(longest, hurried_max);
    const time_point until = std::min(later(began, longest), later(r->climb_began, p.total - rest));
    ask(*r);  // Perhaps it has only just connected.
    if (so(*r) || control_->now() >= until) co_return;
    co_await look_again(r, until);
  }
}

task<> supervisor::look_again(std::shared_ptr<record> r, time_point until) {
  auto next = [](record* of) -> task<> { co_await of->looks.receive(); };
  if (until == never) {
    co_await next(r.get());
  } else {
    co_await move_on_after(until - control_->now(), next(r.get()));
  }
}

// Asks the child to end, once. On the link itself, not through its parent's port: that one's loop
// may be stuck, and is perhaps why we are here. The acknowledgement is not waited for, its end is.
void supervisor::ask(record& r) {
  if (!r.link || r.link_lost || r.has_ended || std::exchange(r.asked, true)) return;
  if (r.report.rung == rung::none) r.report.rung = rung::asked;
  const msg::aid& parent = r.request.spec.parent;
  r.link->send(
      msg::start{base::new_uuid(), "self", "cancel", to_kwargs(), uid{parent.name, parent.uuid}});
}

// The ladder. Each rung is given its bound, none more than what is left of the total.
task<> supervisor::climb(std::shared_ptr<record> r) {
  r->climbing = true;
  r->climb_began = control_->now();
  r->deaf = r->native_code = false;  // What was so before, of some call, need not be so now.

  if (r->link && !r->link_lost) {
    const auto ended = [](const record& x) { return x.has_ended; };
    ask(*r);
    const auto least = r->policy.unseen < r->policy.ask ? &stop_policy::unseen : &stop_policy::ask;
    co_await wait_on_rung(r, least, ended);
    if (!r->has_ended && r->child->cancel_seen())
      co_await wait_on_rung(r, &stop_policy::ask, ended);
  }
  if (!r->has_ended) stop_descendants(*r);
  bool has_rungs = false, forced = false;
  r->deaf = r->native_code = false;
  if (!r->has_ended && r->child->interrupt()) {
    has_rungs = true;
    r->report.rung = rung::interrupted;
    co_await wait_on_rung(r, &stop_policy::interrupt,
                          [](const record& x) { return x.has_ended || x.deaf || x.native_code; });
  }
  if (!r->has_ended && !r->native_code && r->policy.may_force && r->child->force()) {
    has_rungs = forced = true;
    r->report.rung = rung::forced;
    co_await wait_on_rung(r, &stop_policy::force,
                          [](const record& x) { return x.has_ended || x.native_code; });
  }
  // Only waiting is left to a backend without rungs, and after SIGKILL, where the end is the
  // kernel's to bring, for which a crowded machine may take its time: what remains of the total.
  if (!r->has_ended && (!has_rungs || (forced && r->request.backend->can().can_be_killed)))
    co_await wait_on_rung(r, &stop_policy::total, [](const record& x) { return x.has_ended; });
  if (forced && r->has_ended) ++forced_stops_;
  // What force() is in the end, its backend decides: a guest in a process of its own has both.
  if (forced && r->report.how == exit_report::cause::signalled && r->report.status == SIGKILL)
    r->report.rung = rung::killed;
  r->report.took = control_->now() - r->climb_began;
  if (!r->has_ended) give_up(r);
}

// Rung 4.
void supervisor::give_up(const std::shared_ptr<record>& r) {
  r->report.rung = rung::abandoned;
  r->report.how = exit_report::cause::abandoned;
  r->report.detail = r->child->describe();
  r->quarantined = true;
  r->since = control_->now();
  quarantine_.emplace(r->uuid(), r);
  r->on_came_back = [this, uuid = r->uuid()] {
    // Kept until here by the list alone; the child ends with the record.
    const auto node = quarantine_.extract(uuid);
    if (!node) return;
    record& back = *node.mapped();
    back.child.reset();
    port::child_changed change;
    change.what = port::child_changed::kind::reclaimed;
    change.uuid = uuid;
    change.name = back.name();
    change.report = back.report;
    change.report.rung = rung::reclaimed;
    change.report.how = back.came_back_as.how;
    change.report.status = back.came_back_as.status;
    change.report.took = control_->now() - back.climb_began;
    back.request.parent->child_changed(std::move(change));
  };
  r->child->abandon();
}

void supervisor::stop_descendants(const record& r) {
  for (auto& [uuid, other] : records_)
    if (other->request.spec.parent.uuid == r.uuid()) other->ask_to_stop({});
}

task<> supervisor::end_descendants(std::shared_ptr<record> r) {
  r->leaving = true;
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
  r.announced = true;
  port::child_changed change;
  change.uuid = r.uuid();
  change.report = r.report;
  if (r.up) {
    change.what = port::child_changed::kind::ended;
    change.requested = r.stop_asked;
  } else {
    change.what = port::child_changed::kind::start_failed;
    change.error = r.start_error;
    change.began = r.child != nullptr;
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
