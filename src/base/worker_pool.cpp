// SPDX-License-Identifier: Apache-2.0
#include "base/worker_pool.hpp"

#include <algorithm>
#include <condition_variable>
#include <list>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

#include "base/thread.hpp"

namespace coppice::base {

namespace {

using clock = std::chrono::steady_clock;

}  // namespace

struct worker_pool::state {
  struct worker {
    os_thread thread;  // Empty: somebody else joins it, or it was detached.
    std::condition_variable changed;
    work next;
    ticket doing = 0;  // 0: idle.
    bool leaving = false;
    std::optional<stranded> abandoned;
  };

  state(std::string n, options o) : name(std::move(n)), limits(o) {}

  void main(worker& me);
  bool wait_for_work(std::unique_lock<std::mutex>& lock, worker& me);
  void send_home(worker& w);  // Its handle is ours from now on.
  void join(std::vector<os_thread> ending);

  const std::string name;
  const options limits;
  std::mutex mutex;
  std::list<worker> workers;      // Guarded by mutex, as is everything below.
  std::vector<worker*> idle;      // The last one is used first: its stack is still warm.
  std::vector<os_thread> ending;  // Told to end, or at their end; to be joined.
  std::vector<stranded> lost;     // Threads that did not end when they should have.
  ticket tickets = 0;
  bool closed = false;
};

worker_pool::worker_pool(std::string name, options o)
    : state_(std::make_shared<state>(std::move(name), o)) {}

worker_pool::~worker_pool() { close(); }

worker_pool::ticket worker_pool::run(work w) {
  const std::lock_guard lock(state_->mutex);
  if (state_->closed)
    throw std::system_error(std::make_error_code(std::errc::operation_canceled),
                            "threads '" + state_->name + "' are closed");
  // Those that idled out; one that is not quite at its end waits for the next time.
  std::erase_if(state_->ending,
                [](os_thread& t) { return t.join_for(std::chrono::milliseconds(0)); });
  const ticket t = ++state_->tickets;
  if (!state_->idle.empty()) {
    state::worker& used = *state_->idle.back();
    state_->idle.pop_back();
    used.next = std::move(w);
    used.doing = t;
    used.changed.notify_one();
    return t;
  }
  state::worker& made = state_->workers.emplace_back();
  made.next = std::move(w);
  made.doing = t;
  try {
    made.thread = os_thread(state_->name, [s = state_, &made] { s->main(made); });
  } catch (...) {
    state_->workers.pop_back();
    throw;
  }
  return t;
}

void worker_pool::state::main(worker& me) {
  std::unique_lock lock(mutex);
  while (wait_for_work(lock, me)) {
    work now = std::move(me.next);
    lock.unlock();
    afterwards after = now();
    now = {};
    lock.lock();
    const bool stays = !me.abandoned && !closed;
    me.doing = 0;
    me.abandoned.reset();
    me.leaving = !stays;
    if (stays) idle.push_back(&me);
    lock.unlock();
    if (after) after();
    after = {};
    lock.lock();
  }
  if (me.thread.joinable()) ending.push_back(std::move(me.thread));
  workers.remove_if([&me](const worker& w) { return &w == &me; });
}

// False: it is to end.
bool worker_pool::state::wait_for_work(std::unique_lock<std::mutex>& lock, worker& me) {
  const auto until = clock::now() + limits.idle_max;
  const bool told = me.changed.wait_until(lock, until, [&me] { return me.next || me.leaving; });
  if (!told) std::erase(idle, &me);
  return static_cast<bool>(me.next);
}

void worker_pool::state::send_home(worker& w) {
  w.changed.notify_one();
  if (w.thread.joinable()) ending.push_back(std::move(w.thread));
}

void worker_pool::state::join(std::vector<os_thread> threads) {
  const auto until = clock::now() + limits.join_max;
  for (os_thread& t : threads) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - clock::now());
    if (t.join_for(std::max(left, std::chrono::milliseconds(0)))) continue;
    t.abandon();
    const std::lock_guard lock(mutex);
    lost.push_back({"a thread '" + name + "' at its end, in a destructor of its thread_local data",
                    clock::now()});
  }
}

void worker_pool::abandon(ticket t, std::string what) {
  const std::lock_guard lock(state_->mutex);
  const auto at = std::ranges::find(state_->workers, t, &state::worker::doing);
  if (at != state_->workers.end()) at->abandoned = stranded{std::move(what), clock::now()};
}

void worker_pool::join_idle() {
  std::vector<os_thread> ending;
  {
    const std::lock_guard lock(state_->mutex);
    for (state::worker* w : std::exchange(state_->idle, {})) w->leaving = true;
    for (state::worker& w : state_->workers)
      if (w.leaving) state_->send_home(w);
    ending = std::exchange(state_->ending, {});
  }
  state_->join(std::move(ending));
}

void worker_pool::close() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->closed = true;
    for (state::worker& w : state_->workers)
      if (w.doing != 0) w.thread.abandon();
  }
  join_idle();
}

std::vector<worker_pool::stranded> worker_pool::quarantined() const {
  const std::lock_guard lock(state_->mutex);
  std::vector<stranded> all = state_->lost;
  for (const state::worker& w : state_->workers)
    if (w.abandoned) all.push_back(*w.abandoned);
  return all;
}

std::size_t worker_pool::threads() const {
  const std::lock_guard lock(state_->mutex);
  return static_cast<std::size_t>(
      std::ranges::count_if(state_->workers, [](const state::worker& w) { return !w.leaving; }));
}

}  // namespace coppice::base
