// SPDX-License-Identifier: Apache-2.0
#include "machines.hpp"

#include <signal.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "coppice/errors.hpp"
#include "coppice/time.hpp"

namespace coppice::sim {

using namespace std::chrono_literals;

namespace {
// A moment for its report, then a ladder, with a moment for the kill.
constexpr duration end_of_the_lost_max = 100ms + stop_policy().total + 20ms;
}  // namespace

/// One simulated actor, from start() on. Shared by its task, its handle and the list of them all.
class machine : public std::enable_shared_from_this<machine> {
 public:
  machine(machines& home, dice luck, const spawn::child_spec& spec,
          std::shared_ptr<spawn::child_observer> observer)
      : home_(home),
        luck_(luck),
        name_(spec.self.name),
        uuid_(spec.self.uuid),
        parent_(spec.parent.uuid),
        spec_(spec),
        observer_(std::move(observer)) {
    const auto& habits = home_.habits_;
    has_rungs_ = !luck_.chance(habits.without_rungs_percent);
    boot_ = luck_.between(0ms, 20ms);
    bad_boot_ = habits.boots_badly && luck_.chance(25);
    if (bad_boot_) boot_ = luck_.between(0ms, 3s);
    stillborn_ = bad_boot_ && luck_.chance(30);
  }

  static task<> run(std::shared_ptr<machine> me) {
    detail::task_node& node = co_await detail::this_task{};
    exit_report report;
    {
      cancel_scope scope(node, {.name = "machine of " + me->name_});
      me->scope_ = &scope;
      auto life = detail::take(me->live());
      auto how = co_await detail::captured<void>(std::move(life));
      me->scope_ = nullptr;
      if (how.error() && !scope.absorbs(how.error())) {
        report.how = exit_report::cause::failed;
        report.detail = describe_exception(how.error());
      }
    }
    me->actor_.reset();
    if (!me->killed_) me->spec_.reset();
    co_await sleep_for(me->luck_.between(0ms, 5ms));  // Reaped.
    if (!me->killed_) me->tell_end(std::move(report));
  }

  void kill(int signal) {
    if (over_ || killed_) return;
    home_.trace_->note("{} is killed by signal {}", name_, signal);
    died_unasked_ = !ending_;
    killed_ = ending_ = true;
    home_.net_->kill(uuid());
    if (const auto a = actor_) a->close("killed");
    if (scope_ != nullptr) scope_->cancel("killed");
    auto reaped = [](std::shared_ptr<machine> me, int by, duration after) -> task<> {
      co_await sleep_for(after);
      exit_report report;
      report.how = exit_report::cause::signalled;
      report.status = by;
      me->tell_end(std::move(report));
    };
    home_.tasks_->start_soon(name_ + " is reaped", reaped, shared_from_this(), signal,
                             luck_.between(0ms, 10ms));
  }

  // --- rungs ---
  bool interrupt() {
    if (!has_rungs_) return false;
    home_.trace_->note("{} is interrupted", name_);
    ending_ = true;
    if (const auto a = actor_)
      a->cancel("SIGTERM");
    else if (!left_)
      kill(SIGTERM);
    return true;
  }
  bool force() {
    if (has_rungs_) kill(SIGKILL);
    return has_rungs_;
  }
  void abandon() {
    home_.trace_->note("{} is abandoned", name_);
    if (has_rungs_) home_.trace_->fail("{} was abandoned, but it can be killed", name_);
    abandoned_ = ending_ = true;
    told_at_ = home_.runtime_.control()->now();
  }

  const std::string& uuid() const { return uuid_; }
  const std::string& name() const { return name_; }

 private:
  friend class machines;
  friend class machine_handle;

  task<> live() {
    if (killed_) co_return;
    co_await sleep_for(boot_);
    if (stillborn_) {
      left_ = true;
      co_return;
    }
    actor_ = std::make_shared<tree::native_actor>(home_.runtime_, home_.runtime_.control(),
                                                  spec_->self, home_.endpoints_);
    seen_ = actor_;
    std::function<void()> connect = [this] {
      auto failed = [me = shared_from_this()](const std::string& why) {
        if (const auto a = me->actor_) a->cancel(why);
      };
      home_.net_->connect(spec_->self, actor_, spec_->parent, spec_->parent_sink, failed);
    };
    auto serving = detail::take(actor_->serve(spec_->parent.uuid, std::move(connect)));
    auto how = co_await detail::captured<void>(std::move(serving));
    left_ = true;
    if (how.error()) std::rethrow_exception(how.error());
  }

  void tell_end(exit_report report) {
    if (over_) home_.trace_->fail("the end of {} is told twice", name_);
    home_.trace_->note("{} has ended: {}", name_, report.text());
    if (report.how == exit_report::cause::failed)
      home_.trace_->fail("{} failed by itself: {}", name_, report.detail);
    over_ = ending_ = true;
    const time_point now = home_.runtime_.control()->now();
    if (has_rungs_ && lost_at_ && now - *lost_at_ > end_of_the_lost_max)
      home_.trace_->fail("{} ended long after its connection was lost", name_);
    told_at_ = now;
    spec_.reset();
    std::exchange(observer_, nullptr)->ended(std::move(report));
  }

  machines& home_;
  dice luck_;
  const std::string name_;
  const std::string uuid_, parent_;
  std::optional<spawn::child_spec> spec_;  // Gone with it: it holds the parent's port.
  std::shared_ptr<spawn::child_observer> observer_;
  std::shared_ptr<tree::native_actor> actor_;
  std::weak_ptr<tree::native_actor> seen_;
  cancel_scope* scope_ = nullptr;  // Around its life, while it has one.
  duration boot_{};
  bool has_rungs_ = true;
  bool bad_boot_ = false;
  bool stillborn_ = false;
  bool left_ = false;  // Its code has returned.
  bool up_ = false;
  time_point told_at_{};
  std::optional<time_point> lost_at_;  // Its parent heard the end of its connection.
  bool killed_ = false;
  bool died_unasked_ = false;
  bool ending_ = false;
  bool abandoned_ = false;
  bool over_ = false;
};

class machine_handle final : public spawn::child {
 public:
  explicit machine_handle(std::shared_ptr<machine> of) : of_(std::move(of)) {}
  ~machine_handle() override {
    if (!of_->over_ && !of_->abandoned_)
      of_->home_.trace_->fail("the handle of {} ended before it did", of_->name_);
  }
  bool interrupt() override { return of_->interrupt(); }
  bool force() override { return of_->force(); }
  void abandon() override { of_->abandon(); }
  std::string describe() const override { return "machine of " + of_->name_; }

 private:
  const std::shared_ptr<machine> of_;
};

machines::machines(tree::process_runtime& runtime, std::vector<exposed> endpoints)
    : runtime_(runtime), endpoints_(std::move(endpoints)) {}

std::unique_ptr<spawn::child> machines::start(const spawn::child_spec& spec,
                                              std::shared_ptr<spawn::child_observer> observer) {
  trace_->note("{} starts, child of {}", spec.self.name, spec.parent.name);
  auto made = std::make_shared<machine>(*this, luck_->of(spec.self.uuid), spec, observer);
  all_.push_back(made);
  by_uuid_.emplace(spec.self.uuid, made.get());
  tasks_->start_soon("machine of " + spec.self.name, &machine::run, made);
  return std::make_unique<machine_handle>(std::move(made));
}

machine* machines::find(const std::string& uuid) const {
  const auto it = by_uuid_.find(uuid);
  return it != by_uuid_.end() ? it->second : nullptr;
}

void machines::kill(const std::string& uuid) {
  if (machine* m = find(uuid)) m->kill(SIGKILL);
}

void machines::set_ending(const std::string& uuid) {
  machine* m = find(uuid);
  if (m == nullptr) return;
  m->ending_ = true;
  const auto over = family_over(*m);
  const bool known = over && runtime_.control()->now() - *over > end_is_reported_within;
  if (!known) m->died_unasked_ = false;  // Killed, but its parent does not know yet.
}

std::vector<std::string> machines::alive() const {
  std::vector<std::string> uuids;
  for (const auto& m : all_)
    if (!m->over_ && !m->killed_) uuids.push_back(m->uuid());
  return uuids;
}

std::size_t machines::actors_left() const {
  std::size_t n = 0;
  for (const auto& m : all_) n += m->seen_.expired() ? 0 : 1;
  return n;
}

std::size_t machines::abandoned() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(all_, [](const auto& m) { return m->abandoned_; }));
}

bool machines::was_killed(const std::string& uuid) const {
  const machine* m = find(uuid);
  return m != nullptr && m->killed_;
}
bool machines::is_ending(const std::string& uuid) const {
  const machine* m = find(uuid);
  return m != nullptr && m->ending_;
}
std::optional<time_point> machines::over_since(const std::string& uuid) const {
  const machine* m = find(uuid);
  return m != nullptr ? family_over(*m) : std::nullopt;
}
bool machines::is_over(const std::string& uuid) const { return over_since(uuid).has_value(); }

// However it takes it, the supervisor ends an actor whose connection is lost.
void machines::set_lost(const std::string& uuid) {
  machine* m = find(uuid);
  if (m != nullptr && !m->lost_at_) m->lost_at_ = runtime_.control()->now();
}
bool machines::was_up(const std::string& uuid) const {
  const machine* m = find(uuid);
  return m != nullptr && m->up_;
}
std::optional<time_point> machines::told_when_died_unasked(const std::string& uuid) const {
  const machine* m = find(uuid);
  if (m == nullptr || !m->died_unasked_) return std::nullopt;
  return family_over(*m);
}
std::optional<time_point> machines::family_over(const machine& m) const {
  if (!m.over_ && !m.abandoned_) return std::nullopt;
  time_point last = m.told_at_;
  for (const auto& other : all_) {
    if (other->parent_ != m.uuid_) continue;
    const auto theirs = family_over(*other);
    if (!theirs) return std::nullopt;
    last = std::max(last, *theirs);
  }
  return last;
}
std::string machines::uuid_of(const std::string& name) const {
  for (const auto& m : all_)
    if (m->name_ == name) return m->uuid_;
  return {};
}
void machines::set_up_now(const std::string& uuid) {
  if (machine* m = find(uuid)) m->up_ = true;
}
bool machines::boots_badly(const std::string& uuid) const {
  const machine* m = find(uuid);
  return m != nullptr && m->bad_boot_;
}

}  // namespace coppice::sim
