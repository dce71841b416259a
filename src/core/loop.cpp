// SPDX-License-Identifier: Apache-2.0
#include "core/loop.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "coppice/errors.hpp"
#include "core/assert_dump.hpp"
#include "core/reactor.hpp"
#include "core/stall_watch.hpp"
#include "core/thread_call.hpp"

namespace coppice::core {

namespace {

// Trivially destructible: a thread that leaves by a long jump must not owe anything here.
thread_local loop* current_loop = nullptr;

// A batch of this many resumed tasks is worth one look at the file descriptors.
constexpr unsigned resumes_per_poll = 64;

// Without a timer nobody needs the time but "waits since": a look at the clock costs as much as
// resuming a task.
constexpr std::uint64_t turns_per_look_at_clock = 64;

class function_hook final : public turn_hook {
 public:
  explicit function_hook(base::unique_function<void()> fn) noexcept : fn_(std::move(fn)) {}
  void at_turn_end() override {
    const std::unique_ptr<function_hook> self(this);
    fn_();
  }

 private:
  base::unique_function<void()> fn_;
};

}  // namespace

bool loop_ref::post(base::unique_function<void()> fn) const {
  auto item = std::make_unique<posted_function>(std::move(fn));
  if (!inbox_->push(*item, false)) return false;
  static_cast<void>(item.release());  // Ends itself when it has run.
  return true;
}

bool loop_ref::post_quiet(base::unique_function<void()> fn) const {
  auto item = std::make_unique<posted_function>(std::move(fn));
  if (!inbox_->push(*item, true)) return false;
  static_cast<void>(item.release());
  return true;
}

bool loop_ref::cancel(std::string_view reason) const {
  return post([l = loop_, text = std::string(reason)] { l->cancel_root(text); });
}

loop::loop(loop_options options)
    : scheduler(options.time != nullptr ? *options.time : system_clock()),
      name_(std::move(options.name)),
      inbox_(std::make_shared<inbox>()),
      pulse_(std::make_shared<loop_pulse>(name_, inbox_, clock_ == &system_clock())),
      stalls_(std::move(options.stalls)),
      shared_threads_(std::move(options.threads)) {
  set_assert_dump();
  if (options.order_seed)
    shuffle_ = std::make_unique<shuffle>(shuffle{std::mt19937_64(*options.order_seed), {}});
}

loop::~loop() {
  COPPICE_ASSERT(root_ == nullptr, "a loop ended while it runs");
  for (inbox_item* item = inbox_->close(); item != nullptr;) {
    inbox_item* next = item->next_;
    item->drop();
    item = next;
  }
}

loop* loop::current() noexcept { return current_loop; }

reactor& loop::io() {
  if (!reactor_) {
    reactor_ = std::make_unique<reactor>();
    inbox_->set_reactor(reactor_.get());
  }
  return *reactor_;
}

thread_crew& loop::threads() {
  if (!crew_) crew_ = std::make_unique<thread_crew>(*this, shared_threads_);
  return *crew_;
}

std::vector<abandoned_work> loop::quarantine() const {
  return crew_ ? crew_->abandoned() : std::vector<abandoned_work>();
}

void loop::at_turn_end(turn_hook& hook) noexcept {
  if (hook.queued_) return;
  hook.queued_ = true;
  hook.next_ = nullptr;
  (hooks_last_ != nullptr ? hooks_last_->next_ : hooks_first_) = &hook;
  hooks_last_ = &hook;
}

void loop::at_turn_end(base::unique_function<void()> fn) {
  // tidy: allow new: it owns itself until it has run
  at_turn_end(*new function_hook(std::move(fn)));  // Ends itself when it has run.
}

void loop::run_root(detail::task_node& root) {
  COPPICE_ASSERT(current_loop == nullptr,
                 "run() inside a running loop would block it: use co_await, or another thread");
  COPPICE_ASSERT(root_ == nullptr, "run() of a loop that runs already");
  if (stalls_) stalls_->add(pulse_);
  current_loop = this;
  root_ = &root;
  look_at_clock();
  pulse_->run_begins();
  {
    coppice::cancel_scope scope(root, {.name = name_});
    root_scope_ = &scope;
    if (!cancel_next_run_.empty()) scope.cancel(std::exchange(cancel_next_run_, {}));
    make_ready(root);
    while (root.state != detail::task_state::done) turn(root);
    finish_run();
    root_scope_ = nullptr;
  }
  while (detail::tree_cursor* walk = walks_.pop_front()) walk->next = nullptr;
  pulse_->run_ends();
  if (stalls_) stalls_->remove(*pulse_);
  if (crew_) crew_->run_ends();
  inbox_->rests();
  root_ = nullptr;
  current_loop = nullptr;
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

// What was posted during the run belongs to it, and so does what that posts in turn, and the
// handlers of operations that were cancelled at its end: they own what they refer to. Not for ever:
// a thread that posts without end must not keep the run from ending; the rest waits for the next
// run.
void loop::finish_run() {
  constexpr int rounds_max = 16;
  bool handled = true;
  for (int round = 0; round < rounds_max && (handled || !inbox_->empty()); ++round) {
    run_hooks();
    run_inbox();
    handled = reactor_ && reactor_->poll();
  }
  while (hooks_first_ != nullptr) run_hooks();
  COPPICE_ASSERT(ready_first_ == nullptr, "a task is left after the root has ended");
}

void loop::turn(const detail::task_node& root) {
  const std::uint64_t nth = pulse_->turn_begins();
  if (pulse_->measures_turns()) [[unlikely]]
    pulse_->turn_is_measured();
  run_ready();
  run_hooks();
  run_inbox();
  if (!timers_.empty()) {
    fire_timers();
  } else if (nth % turns_per_look_at_clock == 0) {
    look_at_clock();
  }
  if (reactor_ && resumed_since_poll_ >= resumes_per_poll) poll_io();
  if (pulse_->measures_turns()) [[unlikely]]
    pulse_->turn_is_over();
  if (nothing_to_do() && root.state != detail::task_state::done) {
    sleep();
    look_at_clock();
  }
}

void loop::run_ready() {
  detail::task_node* task = std::exchange(ready_first_, nullptr);
  ready_last_ = nullptr;
  if (shuffle_) [[unlikely]]
    task = shuffled(task);
  while (task != nullptr) {
    detail::task_node* next = task->next_ready;
    resume(*task);
    task = next;
  }
  pulse_->batch_ends();
}

// Not std::shuffle: what it draws is the library's own affair, and a seed is to mean the same run
// everywhere.
detail::task_node* loop::shuffled(detail::task_node* batch) {
  auto& [numbers, tasks] = *shuffle_;
  tasks.clear();
  for (; batch != nullptr; batch = batch->next_ready) tasks.push_back(batch);
  for (std::size_t left = tasks.size(); left > 1; --left)
    std::swap(tasks[left - 1], tasks[numbers() % left]);
  detail::task_node* first = nullptr;
  for (detail::task_node* task : tasks) first = (task->next_ready = first, task);
  return first;
}

void loop::resume(detail::task_node& task) {
  transfers_ = 0;
  ++resumed_since_poll_;
  task.state = detail::task_state::running;
  pulse_->resumes(task);
  task.resume_at.resume();
  COPPICE_ASSERT(
      task.state != detail::task_state::running,
      "a coroutine returned without having ended and without waiting for anything. g++ 12 "
      "drops the body of a coroutine that awaits in a condition and has no local variable: "
      "write `if (auto r = co_await x())` instead of `if (co_await x())`");
  if (task.state != detail::task_state::done) return;
  pulse_->task_ends();
  task.finished();  // May end the task.
}

void loop::run_hooks() {
  turn_hook* hook = std::exchange(hooks_first_, nullptr);
  hooks_last_ = nullptr;
  while (hook != nullptr) {
    turn_hook* next = hook->next_;
    hook->queued_ = false;
    try {
      hook->at_turn_end();
    } catch (...) {
      fail(std::current_exception());
    }
    hook = next;
  }
}

void loop::run_inbox() {
  inbox_->take_each([this](inbox_item& item) {
    ++resumed_since_poll_;  // Threads that post without end must not starve I/O.
    try {
      item.run();
    } catch (...) {
      fail(std::current_exception());
    }
  });
}

void loop::fire_timers() noexcept {
  const time_point now = clock_->now();
  set_turn_began(now);
  while (detail::timer* t = timers_.take_due(now)) t->fire();
}

void loop::poll_io() noexcept {
  resumed_since_poll_ = 0;
  try {
    reactor_->poll();
  } catch (...) {
    fail(std::current_exception());  // A handler threw.
  }
}

void loop::wait_io(duration limit) noexcept {
  try {
    reactor_->wait(limit);
  } catch (...) {
    fail(std::current_exception());
  }
}

void loop::sleep() {
  // With operations under way, waiting finds what is ready as well as polling, in one system call.
  if (reactor_ && (!reactor_->has_work() || !idle_hooks_.empty())) poll_io();
  if (!nothing_to_do() || !inbox_->empty() || run_idle_hooks()) return;
  const bool has_io = reactor_ && reactor_->has_work();
  const time_point next = timers_.next();
  if (!has_io && outside_work_ == 0 && clock_->skip_to(next)) return;
  const auto left = [&] {
    if (next == time_point::max()) return duration(-1);
    return std::max(next - clock_->now(), duration::zero());
  };
  duration limit = left();
  if (limit == duration::zero()) return;
  if (!has_io) {
    if (inbox_->look(limit)) return;
    limit = left();  // A look in vain has taken some of it.
    if (limit == duration::zero()) return;
  }
  if (!inbox_->prepare_sleep(has_io ? inbox::sleep::in_reactor : inbox::sleep::on_futex)) return;
  pulse_->falls_asleep();
  if (has_io) {
    wait_io(limit);
  } else {
    inbox_->sleep_on_futex(limit);
  }
  pulse_->wakes_up();
  inbox_->awake();
}

bool loop::run_idle_hooks() noexcept {
  if (idle_hooks_.empty()) return false;
  while (idle_hook* hook = idle_hooks_.pop_front()) hook->at_idle();
  return true;
}

void loop::fail(std::exception_ptr e) noexcept {
  if (!failure_) failure_ = e;
  cancel_root("a posted function failed: " + describe_exception(e));
}

void loop::cancel_root(const std::string& reason) {
  if (root_scope_ != nullptr) {
    root_scope_->cancel(reason);
  } else {
    cancel_next_run_ = reason.empty() ? "cancelled" : reason;
  }
}

}  // namespace coppice::core

namespace coppice::detail {

void scheduler::arm(timer& t, time_point when) {
  static_cast<core::loop*>(this)->timers_.arm(t, when);
}

void scheduler::disarm(timer& t) noexcept { static_cast<core::loop*>(this)->timers_.disarm(t); }

void scheduler::check_thread(const char* what) const noexcept {
  if (core::loop::current() == this) [[likely]]
    return;
  std::fprintf(stderr, "coppice: %s was called on a thread that does not run this loop\n", what);
  check_failed("an object of a loop is used on that loop's thread only: post to it from elsewhere",
               std::source_location::current());
}

task_node* running_task() noexcept {
  const core::loop* l = core::loop::current();
  return l != nullptr ? l->running() : nullptr;
}

}  // namespace coppice::detail
