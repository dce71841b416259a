// SPDX-License-Identifier: Apache-2.0
#include "spawn/subint/guest_seat.hpp"

#include <utility>

namespace coppice::spawn {

/// Warms up, waits, and is then whatever has taken the seat.
class guest_seat::parked_body final : public py::guest_body {
 public:
  parked_body(std::shared_ptr<guest_seat> seat, warm_up warm)
      : seat_(std::move(seat)), warm_(std::move(warm)) {}
  ~parked_body() override { seat_->drop_body(); }

  // A forced stop drops this frame at any call into CPython: members only.
  void run(py::guest_side& side) noexcept override {
    why_ = warm_(seat_->at_);
    if (!why_.empty()) return seat_->keeper_->on_refused(*seat_, why_);
    if (!seat_->park() || !seat_->parking_.wait(side)) return (void)seat_->leave_park();
    if (py::guest_body* actor = seat_->leave_park()) actor->run(side);
  }
  void wake() noexcept override { seat_->nudge(); }

 private:
  const std::shared_ptr<guest_seat> seat_;  // Shared with the keeper.
  const warm_up warm_;
  std::string why_;
};

std::unique_ptr<py::guest_body> guest_seat::body(std::shared_ptr<guest_seat> seat, warm_up warm) {
  return std::make_unique<parked_body>(std::move(seat), std::move(warm));
}

bool guest_seat::take(std::unique_ptr<py::guest_body>& body,
                      std::shared_ptr<py::guest_observer> observer) {
  {
    std::lock_guard lock(mutex_);
    if (state_ != state::parked) return false;
    state_ = state::taken;
    body_ = std::move(body);
    observer_ = std::move(observer);
  }
  parking_.open();
  return true;
}

void guest_seat::dismiss() noexcept {
  {
    std::lock_guard lock(mutex_);
    if (state_ == state::taken || state_ == state::ending) return;
    state_ = state::ending;
  }
  parking_.open();
}

bool guest_seat::park() {
  {
    std::lock_guard lock(mutex_);
    if (state_ != state::warming) return false;
    state_ = state::parked;
  }
  keeper_->on_parked(*this);
  return true;
}

py::guest_body* guest_seat::leave_park() noexcept {
  std::lock_guard lock(mutex_);
  if (state_ == state::taken) return body_.get();
  state_ = state::ending;
  return nullptr;
}

void guest_seat::nudge() noexcept {
  parking_.nudge();
  // Under the lock, because the reaper that asks is not the one that ends the body: it is.
  std::lock_guard lock(mutex_);
  if (body_) body_->wake();
}

// On the reaper's thread, when the interpreter has ended.
void guest_seat::drop_body() noexcept {
  std::unique_ptr<py::guest_body> ended;
  std::lock_guard lock(mutex_);
  ended = std::move(body_);
}

std::shared_ptr<py::guest_observer> guest_seat::taker() const {
  std::lock_guard lock(mutex_);
  return observer_;
}

// --- what the guest says, to whom it concerns ------------------------------------------------

void guest_seat::on_returned() noexcept {
  if (const auto actor = taker()) actor->on_returned();
}

void guest_seat::on_stuck(py::stuck_in where, duration waited) noexcept {
  if (const auto actor = taker()) return actor->on_stuck(where, waited);
  keeper_->on_stuck(*this, where);
}

void guest_seat::on_start_failed(std::string_view) noexcept { keeper_->on_gone(*this); }

void guest_seat::on_ended(rung how, duration took) noexcept {
  dismiss();  // Whatever ended it: nobody takes it any more.
  if (const auto actor = taker()) return actor->on_ended(how, took);
  keeper_->on_gone(*this);
}

void guest_seat::on_reclaimed(duration age) noexcept {
  if (const auto actor = taker()) return actor->on_reclaimed(age);
  keeper_->on_gone(*this);
}

}  // namespace coppice::spawn
