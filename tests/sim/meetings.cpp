// SPDX-License-Identifier: Apache-2.0
// Steps in which tasks wait for each other: events, locks, semaphores, channels.
#include <algorithm>
#include <numeric>
#include <utility>

#include "coppice/channel.hpp"
#include "coppice/event.hpp"
#include "coppice/lock.hpp"
#include "coppice/nursery.hpp"
#include "coppice/semaphore.hpp"
#include "coppice/time.hpp"
#include "workload.hpp"

namespace coppice::sim {

using namespace std::chrono_literals;

namespace {

constexpr duration no_limit = duration::max();

/// Some wait for as long as it takes, so that a wake-up that is lost leaves them there; some give
/// up, often just when they are woken.
duration some_limit(dice& luck, duration about) {
  return luck.chance(60) ? no_limit : luck.between(0ms, 2 * about);
}

/// Those who met, and those who gave up: together all who came, if nobody was cancelled.
struct meeting {
  std::uint64_t came = 0, met = 0, gave_up = 0;

  void check(const place& p, const char* what) const {
    if (met + gave_up != came)
      p.w.trace.fail("{}: {} came, {} met, {} gave up", what, came, met, gave_up);
  }
};

// --- an event ------------------------------------------------------------------------------------

task<> wait_for_event(event* e, meeting* m, duration limit) {
  const bool met = co_await move_on_after(limit, e->wait());
  ++(met ? m->met : m->gave_up);
  if (met && !e->is_set()) ++m->came;  // Woken without a reason: the sum is wrong then.
}

task<> set_later(event* e, duration after) {
  co_await sleep_for(after);
  e->set();
}

// --- a lock, a semaphore -------------------------------------------------------------------------

/// How many are inside, whichever way they leave.
struct presence {
  explicit presence(int& n) : n_(n) { ++n_; }
  presence(const presence&) = delete;
  ~presence() { --n_; }
  int& n_;
};

template <class Shared>
task<> hold(Shared* s, place* p, int* inside, int most, duration length) {
  auto held = co_await s->acquire();
  const presence here(*inside);
  if (*inside > most) p->w.trace.fail("{} hold what {} may hold at once", *inside, most);
  co_await sleep_for(length);
}

template <class Shared>
task<> visit(Shared* s, place* p, int* inside, int most, meeting* m, duration limit) {
  const duration length = p->luck.between(0ms, 10ms);
  const bool met = co_await move_on_after(limit, hold(s, p, inside, most, length));
  ++(met ? m->met : m->gave_up);
}

template <class Shared>
task<> share(place* p, Shared* s, int most) {
  meeting m;
  int inside = 0;
  m.came = 2 + p->luck.below(4);
  auto body = [&](nursery& n) -> task<> {
    for (std::uint64_t i = 0; i < m.came; ++i)
      n.start_soon("visitor", visit<Shared>, s, p, &inside, most, &m, some_limit(p->luck, 15ms));
    co_return;
  };
  co_await open_nursery(body);
  m.check(*p, "visitors of a lock or semaphore");
}

// --- a channel -----------------------------------------------------------------------------------

struct passing {
  explicit passing(std::size_t capacity) : values(capacity, "values") {}
  channel<std::uint64_t> values;
  std::vector<std::uint64_t> sent, received;
  std::uint64_t senders = 0;
};

task<> send_values(passing* of, place* p, std::uint64_t first) {
  for (std::uint64_t i = 0; i < 3; ++i) {
    co_await sleep_for(p->luck.between(0ms, 5ms));
    const duration limit = some_limit(p->luck, 5ms);
    const bool sent = co_await move_on_after(limit, of->values.send(first + i));
    if (sent) of->sent.push_back(first + i);
  }
  if (--of->senders == 0) of->values.close();
}

task<> receive_values(passing* of, place* p) {
  for (;;) {
    const duration limit = some_limit(p->luck, 5ms);
    const auto in_time = co_await move_on_after(limit, of->values.receive());
    if (!in_time) continue;
    if (!*in_time) co_return;  // Closed.
    of->received.push_back(**in_time);
    co_await sleep_for(p->luck.between(0ms, 5ms));
  }
}

}  // namespace

task<> meet_at_event(place* p) {
  event go("go");
  meeting m;
  m.came = 2 + p->luck.below(4);
  auto body = [&](nursery& n) -> task<> {
    for (std::uint64_t i = 0; i < m.came; ++i)
      n.start_soon("waiter", wait_for_event, &go, &m, some_limit(p->luck, 20ms));
    n.start_soon("setter", set_later, &go, p->luck.between(0ms, 20ms));
    co_return;
  };
  co_await open_nursery(body);
  m.check(*p, "waiters for an event");
}

task<> share_lock(place* p) {
  lock shared("shared");
  co_await share(p, &shared, 1);
  if (shared.held()) p->w.trace.fail("a lock is held, but by nobody");
}

task<> share_permits(place* p) {
  semaphore shared(2, {.name = "shared"});
  co_await share(p, &shared, 2);
  if (shared.value() != 2) p->w.trace.fail("a semaphore of 2 permits has {}", shared.value());
}

task<> pass_values(place* p) {
  passing all(p->luck.below(3));
  all.senders = 1 + p->luck.below(2);
  auto body = [&](nursery& n) -> task<> {
    for (std::uint64_t i = 0; i < all.senders; ++i)
      n.start_soon("sender", send_values, &all, p, 100 * i);
    for (auto i = 1 + p->luck.below(3); i > 0; --i)
      n.start_soon("receiver", receive_values, &all, p);
    co_return;
  };
  co_await open_nursery(body);
  std::ranges::sort(all.sent);
  std::ranges::sort(all.received);
  if (all.sent != all.received)
    p->w.trace.fail("{} values were sent through a channel, {} arrived, or other ones",
                    all.sent.size(), all.received.size());
}

}  // namespace coppice::sim
