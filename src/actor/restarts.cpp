// SPDX-License-Identifier: Apache-2.0
#include "actor/restarts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "coppice/detail/check.hpp"
#include "coppice/time.hpp"

namespace coppice::tree {

namespace {

double seconds_of(duration d) { return std::chrono::duration<double>(d).count(); }

task<> until_set(std::shared_ptr<event> e) { co_await e->wait(); }

}  // namespace

restarts::restarts(detail::scheduler& loop, const restart_policy& policy, place_keeper& keeper)
    : loop_(loop),
      policy_(policy),
      keeper_(keeper),
      news_(std::make_shared<event>("news of an actor")) {
  detail::check(policy.within > duration::zero(), "restart_policy::within is more than zero");
  detail::check(policy.pause.factor >= 1, "restart_pause::factor is at least 1");
  detail::check(policy.pause.first >= duration::zero(), "restart_pause::first is not negative");
}

void restarts::remove(place& p) {
  std::erase(places_, &p);
  std::erase(dead_, &p);
  changed();
}

void restarts::is_up(place& p) {
  if (p.now == place::state::down) ++p.restarts;
  p.now = place::state::up;
  p.up_since = loop_.now();
  changed();
}

void restarts::changed() {
  // Whoever waits has the old one.
  std::exchange(news_, std::make_shared<event>("news of an actor"))->set();
}

restarts::verdict restarts::ended(place& p, std::exception_ptr how, bool fault, bool asked) {
  if (p.now == place::state::down) return verdict::restart;  // It had to go with another.
  const bool died = fault && !asked;
  p.last_end = std::move(how);
  const bool none = !restarts_any();
  const bool wanted =
      !asked && (died ? p.when != restart_type::temporary : p.when == restart_type::permanent);
  if (!none && wanted && !closed()) {
    p.now = place::state::down;
    dead_.push_back(&p);
    changed();
    return verdict::restart;
  }
  p.now = place::state::over;
  changed();
  return none && died ? verdict::fails : verdict::over;
}

void restarts::close() {
  if (closed()) return;
  closed_.set();
  changed();
}

task<> restarts::run() {
  while (!closed()) {
    if (dead_.empty()) {
      std::shared_ptr<event> news = news_;
      co_await news->wait();
      continue;
    }
    place* dead = dead_.front();
    dead_.pop_front();
    if (dead->now == place::state::down) co_await bring_back(dead);
  }
}

// Until it is up, or a limit is.
task<> restarts::bring_back(place* dead) {
  while (dead != nullptr) {
    if (loop_.now() - dead->up_since >= policy_.within) dead->in_a_row = 0;
    count(*dead);
    const std::vector<place*> group = group_of(*dead);
    for (place* p : group) p->now = place::state::down;
    for (std::size_t i = group.size(); i > 0; --i) co_await keeper_.stop(*group[i - 1]);
    co_await pause(dead);
    if (closed()) co_return;
    dead = co_await start_group(group);
    if (closed()) co_return;
  }
}

void restarts::count(const place& dead) {
  const time_point now = loop_.now();
  counted_.push_back(now);
  while (now - counted_.front() > policy_.within) counted_.pop_front();
  if (counted_.size() > policy_.restarts_max)
    throw restart_limit_exceeded(dead.name, policy_.restarts_max, policy_.within, dead.last_end);
}

// In the order of their starts.
std::vector<place*> restarts::group_of(const place& dead) const {
  std::vector<place*> group;
  bool after = false;
  for (place* p : places_) {
    after = after || p == &dead;
    const bool alive = p->now == place::state::up || p->now == place::state::down;
    const bool goes_along = after && policy_.strategy == restart_strategy::rest_for_one;
    if (p == &dead || (goes_along && alive)) group.push_back(p);
  }
  return group;
}

task<> restarts::pause(place* dead) {
  double length = static_cast<double>(policy_.pause.first.count());
  const double longest = static_cast<double>(policy_.pause.longest.count());
  for (std::size_t i = 0; i < dead->in_a_row && length < longest; ++i)
    length *= policy_.pause.factor;
  ++dead->in_a_row;
  const duration pause(static_cast<duration::rep>(std::min(length, longest)));
  if (pause > duration::zero()) {
    auto until = [](event* e) -> task<> { co_await e->wait(); };
    co_await move_on_after(pause, until(&closed_));
  }
}

// The one that did not come up; null: all are up, or it is over with starting.
task<place*> restarts::start_group(std::vector<place*> group) {
  for (place* p : group) {
    if (closed()) break;
    auto starting = detail::take(keeper_.start(*p));
    auto how = co_await detail::captured<void>(std::move(starting));
    if (detail::is_cancelled(how.error())) std::rethrow_exception(how.error());
    if (how.error()) {
      p->last_end = how.error();
      p->up_since = loop_.now();  // Not since then, but it has just been tried.
      co_return p;
    }
  }
  co_return nullptr;
}

// --- finding one that is up ----------------------------------------------------------------------

place* restarts::find(std::string_view name) const noexcept {
  for (std::size_t i = places_.size(); i > 0; --i)
    if (places_[i - 1]->name == name) return places_[i - 1];
  return nullptr;
}

task<place*> restarts::wait_up(std::string name, duration within) {
  auto up = co_await move_on_after(within, wait_for_change(name));
  if (up) co_return *up;
  const place* p = find(name);
  throw timeout_error(fmt::format(
      "actor '{}' was not up within {} s: {}", name, seconds_of(within),
      p && p->now == place::state::starting
          ? std::string("it is being started")
          : fmt::format("it is being restarted after this: {}",
                        p && p->last_end ? describe_exception(p->last_end) : "it ended")));
}

task<place*> restarts::wait_for_change(std::string name) {
  for (;;) {
    place* p = find(name);
    if (p == nullptr)
      throw error(
          fmt::format("no actor '{}' was started in this nursery: its portals are those of "
                      "the actors that start_actor() started",
                      name));
    if (p->now == place::state::up && keeper_.is_there(*p)) co_return p;
    if (p->now == place::state::over || closed()) {
      if (p->last_end) std::rethrow_exception(p->last_end);
      throw actor_died(name, {});
    }
    co_await until_set(news_);
  }
}

}  // namespace coppice::tree
