// SPDX-License-Identifier: Apache-2.0
// A guest that is made before it is known what it will be: an actor takes its seat.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "pyhost/guest_thread.hpp"
#include "pyhost/parking.hpp"

namespace coppice::spawn {

class guest_seat;

/// Who keeps seats, and hears of those that nobody has taken. Any thread, perhaps with the guest's
/// GIL; must not block. `on_gone` is the last call for a seat.
class seat_keeper {
 public:
  virtual ~seat_keeper() = default;
  virtual void on_up(const guest_seat& seat) noexcept = 0;  // Its interpreter: it warms up now.
  virtual void on_parked(const guest_seat& seat) noexcept = 0;
  virtual void on_refused(const guest_seat& seat, std::string why) noexcept = 0;  // And it ends.
  virtual void on_stuck(const guest_seat& seat, py::stuck_in where) noexcept = 0;
  virtual void on_gone(const guest_seat& seat) noexcept = 0;
};

/// What a guest does before it is an actor: imports, mostly. Attached, on the guest's thread; gives
/// why it cannot be kept, or "". `at` counts how far it is.
using warm_up = std::function<std::string(std::atomic<std::size_t>& at)>;

/// A guest is made with a seat's body and the seat as its observer:
///
///     auto seat = std::make_shared<guest_seat>(keeper);
///     auto guest = guest_thread::start(host, options, guest_seat::body(seat, warm), seat);
///     …                                            // keeper->on_parked(*seat)
///     if (seat->take(body, observer)) …            // from now on the guest is theirs alone
///
/// Promises:
/// - The body that takes the seat runs on the guest's thread as if the guest had been started with
///   it, and its observer hears what comes from then on. Neither runs, or hears, before.
/// - A seat is taken once, and only while it is parked: not before it is warm, not when it ends.
/// - A guest that is stopped as soon as it was taken ends without running its body, like one that
/// is
///   stopped while it starts.
///
/// Owner: shared by its keeper and its guest, which may be abandoned. Thread: any.
class guest_seat final : public py::guest_observer {
 public:
  explicit guest_seat(std::shared_ptr<seat_keeper> keeper) : keeper_(std::move(keeper)) {}
  guest_seat(const guest_seat&) = delete;
  guest_seat& operator=(const guest_seat&) = delete;

  static std::unique_ptr<py::guest_body> body(std::shared_ptr<guest_seat> seat, warm_up warm);

  /// True: both are its guest's now. False: they stay the caller's.
  bool take(std::unique_ptr<py::guest_body>& body, std::shared_ptr<py::guest_observer> observer);
  /// It is to end: a parked guest returns, one that warms up does so afterwards. Does not block.
  void dismiss() noexcept;
  std::size_t warmed() const noexcept { return at_.load(); }  // See warm_up.

 private:
  class parked_body;
  enum class state : std::uint8_t { warming, parked, taken, ending };

  bool park();
  py::guest_body* leave_park() noexcept;  // Null: nobody has taken it.
  void nudge() noexcept;
  void drop_body() noexcept;
  std::shared_ptr<py::guest_observer> taker() const;

  void on_running() noexcept override { keeper_->on_up(*this); }
  void on_returned() noexcept override;
  void on_stuck(py::stuck_in where, duration waited) noexcept override;
  void on_start_failed(std::string_view text) noexcept override;
  void on_ended(rung how, duration took) noexcept override;
  void on_reclaimed(duration age) noexcept override;

  const std::shared_ptr<seat_keeper> keeper_;  // Shared: a guest may come back after its keeper.
  py::parking parking_;
  std::atomic<std::size_t> at_{0};
  // tidy: allow lock: the guest's thread, its reaper and who takes it have no loop in common
  mutable std::mutex mutex_;
  state state_ = state::warming;                  // Guarded by mutex_, as is what follows.
  std::unique_ptr<py::guest_body> body_;          // Of the actor; ends with the guest's own body.
  std::shared_ptr<py::guest_observer> observer_;  // Of the actor.
};

}  // namespace coppice::spawn
