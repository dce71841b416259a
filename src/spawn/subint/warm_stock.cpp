// SPDX-License-Identifier: Apache-2.0
#include "spawn/subint/warm_stock.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "base/fd.hpp"

namespace coppice::spawn {

using std::chrono::steady_clock;

/// What the stock's thread, those who start actors, and the guests in stock all write into.
///
/// A lock here is held for a few words, never across a call into CPython; guests take it while they
/// hold their GIL, so nobody who holds it may want one.
class warm_stock::ledger final : public seat_keeper,
                                 public std::enable_shared_from_this<warm_stock::ledger> {
 public:
  using time_point = steady_clock::time_point;
  static constexpr time_point never = time_point::max();
  enum class rung_of : std::uint8_t { none, asked, interrupted, forced };

  /// One guest, as long as nobody has taken it.
  struct place {
    std::shared_ptr<guest_seat> seat;
    std::shared_ptr<py::guest_thread> guest;  // Shared with whoever takes it.
    bool parked = false;
    rung_of rung = rung_of::none;
    time_point until = never;  // Of the rung; while it imports, of that.
    bool hopeless = false;     // What the next rung would do cannot help: give it up.
    bool deaf = false;
  };

  explicit ledger(stock_limits given) : limits(given) {}

  void run(py::guest_host& host);  // The stock's thread.

  // --- seat_keeper
  void on_up(const guest_seat& seat) noexcept override;
  void on_parked(const guest_seat& seat) noexcept override;
  void on_refused(const guest_seat& seat, std::string why) noexcept override;
  void on_stuck(const guest_seat& seat, py::stuck_in where) noexcept override;
  void on_gone(const guest_seat& seat) noexcept override;

  bool is_short() const { return places.size() < plan.pool.size; }
  std::size_t parked_count() const {
    return static_cast<std::size_t>(std::ranges::count_if(
        places, [](const place& p) { return p.parked && p.guest && p.rung == rung_of::none; }));
  }

  const stock_limits limits;
  // tidy: allow lock: see above; none of those who meet here has a loop
  mutable std::mutex mutex;
  // tidy: allow lock: the stock's thread stands outside every loop
  std::condition_variable changed;

  // Guarded by mutex, all of it.
  stock_plan plan;
  std::vector<place> places;
  struct patient {
    const guest_seat* seat;  // Only compared.
    std::shared_ptr<py::guest_thread> guest;
    std::string where;
  };
  std::vector<patient> quarantine;
  bool opened = false;
  bool waiting = false;  // open() waits: nothing else starts.
  bool filling = false;  // For the first time, or on demand.
  bool given_up = false;
  bool closing = false;
  std::size_t cold = 0;  // Starts under way that found no guest.
  time_point short_since = never;
  time_point not_before = time_point::min();  // Starts are under way, or guests died.
  time_point quiet_from = time_point::min();
  duration pause{};
  std::vector<std::string> reports;  // Not yet made.

 private:
  place* find(const guest_seat& seat) {
    const auto it =
        std::ranges::find_if(places, [&](const place& p) { return p.seat.get() == &seat; });
    return it == places.end() ? nullptr : &*it;
  }
  void give_up(std::string why);
  void lose_one();
  time_point next_making(time_point now) const;
  void make_one(py::guest_host& host, std::unique_lock<std::mutex>& lock);
  void end(place& p, time_point now);
  time_point look_after(time_point now);
  void climb(place& p, time_point now);
  bool abandon(place& p);
  void report(std::unique_lock<std::mutex>& lock);
  std::string module_at(const guest_seat& seat) const;
};

// --- what guests say ---------------------------------------------------------------------------

// Its creation is not counted: that may have to wait for the main interpreter's GIL, for which no
// module of the list is to blame.
void warm_stock::ledger::on_up(const guest_seat& seat) noexcept {
  std::lock_guard lock(mutex);
  place* p = find(seat);
  if (!p || p->rung != rung_of::none) return;
  p->until =
      steady_clock::now() + std::min<duration>(plan.pool.preload_within, std::chrono::hours(24));
  changed.notify_all();
}

void warm_stock::ledger::on_parked(const guest_seat& seat) noexcept {
  std::lock_guard lock(mutex);
  if (place* p = find(seat)) {
    p->parked = true;
    if (p->rung == rung_of::none) p->until = never;
  }
  if (!is_short()) filling = false, short_since = never;
  changed.notify_all();
}

// Its body returns, so it ends by itself; end() is there for what holds it up then.
void warm_stock::ledger::on_refused(const guest_seat& seat, std::string why) noexcept {
  std::lock_guard lock(mutex);
  place* p = find(seat);
  if (!p || p->rung != rung_of::none) return;  // It was told to end while it imported.
  give_up(
      fmt::format("the module '{}' of the preload list does not import: {}", module_at(seat), why));
}

void warm_stock::ledger::on_stuck(const guest_seat& seat, py::stuck_in where) noexcept {
  std::lock_guard lock(mutex);
  place* p = find(seat);
  if (!p) return;
  switch (where) {
    case py::stuck_in::native_code:
    case py::stuck_in::native_wait:
    case py::stuck_in::finalizer:
      p->hopeless = true;
      break;
    case py::stuck_in::deaf:
      p->deaf = true;
      break;
    case py::stuck_in::start:
    case py::stuck_in::force_off:
      break;
  }
  changed.notify_all();
}

// The handle may be dropped here, on the reaper's thread, but not under the lock.
void warm_stock::ledger::on_gone(const guest_seat& seat) noexcept {
  std::shared_ptr<py::guest_thread> ended;
  std::shared_ptr<guest_seat> its_seat;
  {
    std::lock_guard lock(mutex);
    if (place* p = find(seat)) {
      if (p->rung == rung_of::none && !given_up && !closing) lose_one();
      ended = std::move(p->guest);
      its_seat = std::move(p->seat);
      places.erase(places.begin() + (p - places.data()));
    }
    std::erase_if(quarantine, [&](patient& q) {
      if (q.seat != &seat) return false;
      ended = std::move(q.guest);
      return true;
    });
    changed.notify_all();
  }
}

void warm_stock::ledger::lose_one() {
  const auto now = steady_clock::now();
  pause = pause == duration() ? limits.pause : std::min(pause * 2, limits.pause_max);
  not_before = now + pause;
  if (short_since == never) short_since = now;
}

void warm_stock::ledger::give_up(std::string why) {
  if (std::exchange(given_up, true)) return;
  reports.push_back(fmt::format(
      "coppice: no warm guests are kept, actors start cold: {}; take it out of the list, or make "
      "it importable",
      why));
  changed.notify_all();
}

std::string warm_stock::ledger::module_at(const guest_seat& seat) const {
  const std::size_t at = seat.warmed();
  return at < plan.modules.size() ? plan.modules[at] : "(none)";
}

// --- the stock's thread --------------------------------------------------------------------------

void warm_stock::ledger::run(py::guest_host& host) {
  std::unique_lock lock(mutex);
  for (;;) {
    report(lock);
    const auto now = steady_clock::now();
    if (closing && places.empty()) return;
    const auto look = look_after(now);
    const auto make = next_making(now);
    if (make <= now) {
      make_one(host, lock);
      continue;
    }
    if (!reports.empty() || (closing && places.empty())) continue;
    const auto next = std::min(look, make);
    if (next == never)
      changed.wait(lock);
    else
      changed.wait_until(lock, next);
  }
}

warm_stock::ledger::time_point warm_stock::ledger::next_making(time_point now) const {
  if (closing || given_up || !opened || !is_short()) return never;
  const auto making = std::ranges::count_if(places, [](const place& p) { return !p.parked; });
  if (static_cast<unsigned long>(making) >= std::max(1u, plan.pool.at_once_max)) return never;
  if (waiting) return not_before;
  if (!filling && plan.pool.refill != refill_when::background) return never;
  // Starts come first, but not for ever.
  const auto patience = std::min(short_since, now) + limits.quiet_max;
  return std::max(not_before, cold != 0 ? patience : std::min(quiet_from, patience));
}

void warm_stock::ledger::make_one(py::guest_host& host, std::unique_lock<std::mutex>& lock) {
  place p;
  p.seat = std::make_shared<guest_seat>(shared_from_this());
  py::guest_options options;
  options.name = "warm";
  // In its place before it can say anything.
  places.push_back(p);
  auto body = guest_seat::body(p.seat, plan.warm);
  lock.unlock();
  std::shared_ptr<py::guest_thread> guest;
  try {
    guest = py::guest_thread::start(host, std::move(options), std::move(body), p.seat);
  } catch (const std::exception&) {  // No thread to be had: as if it had died.
  }
  lock.lock();
  place* mine = find(*p.seat);
  if (mine && guest) {
    mine->guest = std::move(guest);
    changed.notify_all();  // It may be parked by now.
  } else if (mine) {
    places.erase(places.begin() + (mine - places.data()));
    lose_one();
  }
  lock.unlock();  // What has ended already is let go without the lock.
  guest.reset();
  lock.lock();
}

// --- the ladder of a guest in stock ------------------------------------------------------------

void warm_stock::ledger::end(place& p, time_point now) {
  if (p.rung != rung_of::none) return;
  p.rung = rung_of::asked;
  p.until = now + limits.ask;
  p.seat->dismiss();
}

// When to look again.
warm_stock::ledger::time_point warm_stock::ledger::look_after(time_point now) {
  auto next = never;
  for (place& p : places) {
    if (!p.guest) continue;  // It is just being started.
    if (closing || given_up) end(p, now);
    if (p.rung == rung_of::none && p.until <= now) {
      give_up(fmt::format("the module '{}' of the preload list was not imported within {} s",
                          module_at(*p.seat),
                          std::chrono::duration<double>(plan.pool.preload_within).count()));
      end(p, now);
    }
    climb(p, now);
    if (p.until != time_point::min()) next = std::min(next, p.until);
  }
  std::erase_if(places, [this](place& p) { return p.until == time_point::min() && abandon(p); });
  return next;
}

// None of these blocks or needs a GIL. What is to be abandoned gets a time that is none.
void warm_stock::ledger::climb(place& p, time_point now) {
  if (p.rung == rung_of::asked && (p.until <= now || p.hopeless)) {
    p.rung = rung_of::interrupted;
    p.until = now + limits.interrupt;
    p.hopeless = p.deaf = false;  // What was so then need not be so now.
    p.guest->interrupt();
  } else if (p.rung == rung_of::interrupted && (p.until <= now || p.hopeless || p.deaf)) {
    p.rung = rung_of::forced;
    p.until = p.hopeless ? now : now + limits.force;
    if (!p.hopeless) p.guest->force();
  }
  if (p.rung == rung_of::forced && (p.until <= now || p.hopeless)) p.until = time_point::min();
}

// False: it has ended, and on_gone() waits for our lock.
bool warm_stock::ledger::abandon(place& p) {
  p.until = never;
  if (!p.guest->abandon()) return false;
  std::string where =
      p.parked ? "a guest in stock, stuck while it ended"
               : fmt::format("a guest in stock, stuck in the import of '{}'", module_at(*p.seat));
  quarantine.push_back({p.seat.get(), std::move(p.guest), std::move(where)});
  return true;
}

void warm_stock::ledger::report(std::unique_lock<std::mutex>& lock) {
  if (reports.empty()) return;
  const auto lines = std::exchange(reports, {});
  const auto handler = plan.pool.report;
  lock.unlock();
  for (const std::string& line : lines) {
    if (handler)
      handler(line);
    else
      base::write_without_waiting(STDERR_FILENO, line + "\n");
  }
  lock.lock();
}

// --- the stock -----------------------------------------------------------------------------------

warm_stock::warm_stock(std::shared_ptr<py::guest_host> host, stock_limits limits)
    : host_(std::move(host)), ledger_(std::make_shared<ledger>(limits)) {}

warm_stock::~warm_stock() { close(); }

void warm_stock::open(stock_plan plan) {
  ledger& l = *ledger_;
  std::unique_lock lock(l.mutex);
  if (l.opened || l.closing || plan.pool.size == 0) return;
  l.opened = l.filling = l.waiting = true;
  l.short_since = steady_clock::now();
  l.plan = std::move(plan);
  thread_ = base::os_thread("coppice-warm", [ledger = ledger_, host = host_.get()] {
    ledger->run(*host);  // The host lives until close() has joined us.
  });
  const auto bound = std::min<duration>(l.plan.pool.fill_within, std::chrono::hours(24));
  l.changed.wait_for(lock, bound, [&l] {
    return l.given_up || l.closing || l.parked_count() >= l.plan.pool.size;
  });
  l.waiting = false;  // What is missing follows.
}

std::shared_ptr<py::guest_thread> warm_stock::try_take(
    const std::string& name, std::unique_ptr<py::guest_body>& body,
    const std::shared_ptr<py::guest_observer>& observer) {
  ledger& l = *ledger_;
  std::shared_ptr<guest_seat> seat;  // Let go of without the lock.
  std::shared_ptr<py::guest_thread> guest;
  std::lock_guard lock(l.mutex);
  if (!l.opened || l.closing || l.given_up) return nullptr;
  const auto now = steady_clock::now();
  for (auto p = l.places.begin(); p != l.places.end(); ++p) {
    if (!p->parked || !p->guest || p->rung != ledger::rung_of::none) continue;
    p->guest->rename(name);                        // Before its code can look.
    if (!p->seat->take(body, observer)) continue;  // It ends just now.
    guest = std::move(p->guest);
    seat = std::move(p->seat);
    l.places.erase(p);
    l.pause = {};
    break;
  }
  l.quiet_from = now + l.limits.quiet;
  if (l.is_short() && l.short_since == ledger::never) l.short_since = now;
  if (!guest && l.plan.pool.refill == refill_when::on_demand) l.filling = true;
  l.changed.notify_all();
  return guest;
}

std::shared_ptr<void> warm_stock::cold_start() {
  {
    std::lock_guard lock(ledger_->mutex);
    ++ledger_->cold;
  }
  return {static_cast<void*>(this), [ledger = ledger_](void*) {
            std::lock_guard lock(ledger->mutex);
            --ledger->cold;
            ledger->quiet_from = steady_clock::now() + ledger->limits.quiet;
            ledger->changed.notify_all();
          }};
}

void warm_stock::begin_close() noexcept {
  std::lock_guard lock(ledger_->mutex);
  ledger_->closing = true;
  ledger_->changed.notify_all();
}

void warm_stock::close() {
  begin_close();
  if (thread_.joinable()) thread_.join();  // Bounded by the ladder's three rungs.
}

std::size_t warm_stock::parked() const {
  std::lock_guard lock(ledger_->mutex);
  return ledger_->parked_count();
}

bool warm_stock::given_up() const {
  std::lock_guard lock(ledger_->mutex);
  return ledger_->given_up;
}

std::vector<std::string> warm_stock::quarantined() const {
  std::lock_guard lock(ledger_->mutex);
  std::vector<std::string> all;
  for (const auto& q : ledger_->quarantine) all.push_back(q.where);
  return all;
}

void warm_stock::describe(base::tree_writer& w) const {
  const ledger& l = *ledger_;
  std::lock_guard lock(l.mutex);
  if (!l.opened) return;
  const std::size_t parked = l.parked_count();
  w.line(fmt::format("warm guests: {} in stock, {} being made or ended, of {}{}", parked,
                     l.places.size() - parked, l.plan.pool.size,
                     l.given_up ? "; given up, actors start cold" : ""));
  auto level = w.deeper();
  for (const auto& q : l.quarantine) w.line("quarantine: " + q.where);
}

}  // namespace coppice::spawn
