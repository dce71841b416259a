// SPDX-License-Identifier: Apache-2.0
#include "actor/signals.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <optional>

#include "base/assert.hpp"
#include "base/fd.hpp"
#include "base/forked.hpp"

namespace coppice::tree {

namespace {

constexpr int numbers[3] = {SIGINT, SIGTERM, SIGUSR1};

// What the handler reads. Set before it is installed; trivially destructible, so it may run at any
// moment of the process's life.
std::atomic<int> ring_fd{-1};
std::atomic<int> ringing{0};  // Handlers that may be about to write to ring_fd.
std::atomic<int> counts[3];
std::atomic<int> first_signal{0};
std::atomic<std::int64_t> recent_ns[2];  // Times of the last two SIGINTs.
struct sigaction previous[3];

std::int64_t now_ns() noexcept {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000ll + t.tv_nsec;
}

int index_of(int number) noexcept {
  for (int i = 0; i < 3; ++i)
    if (numbers[i] == number) return i;
  return -1;
}

void handler(int number, siginfo_t* info, void* context) noexcept {
  const int i = index_of(number);
  if (i < 0) return;
  if (base::is_forked_copy()) {  // Nobody reads what we would write: it is delivered as it was
                                 // before.
    ::sigaction(number, &previous[i], nullptr);
    ::raise(number);
    return;
  }
  counts[i].fetch_add(1);
  if (number != SIGUSR1) {
    int none = 0;
    first_signal.compare_exchange_strong(none, number);
  }
  if (number == SIGINT) {
    const auto now = now_ns();
    const auto before_last = recent_ns[0].exchange(recent_ns[1].exchange(now));
    if (before_last != 0 && now - before_last < 2'000'000'000ll) ::_exit(130);
  }
  const int saved = errno;
  const std::uint64_t one = 1;
  ringing.fetch_add(1);
  if (const int fd = ring_fd.load(); fd >= 0) {
    [[maybe_unused]] auto n = ::write(fd, &one, sizeof one);
  }
  ringing.fetch_sub(1);
  errno = saved;
  const struct sigaction& p = previous[i];
  if (p.sa_flags & SA_SIGINFO) {
    if (p.sa_sigaction) p.sa_sigaction(number, info, context);
  } else if (p.sa_handler != SIG_DFL && p.sa_handler != SIG_IGN && p.sa_handler) {
    p.sa_handler(number);
  }
}

bool is_ours(const struct sigaction& a) noexcept {
  return (a.sa_flags & SA_SIGINFO) && a.sa_sigaction == handler;
}

bool watched(signal_mode mode, int i) noexcept {
  return mode == signal_mode::all || (mode == signal_mode::interrupt && numbers[i] == SIGINT);
}

// Puts our handler in front of whatever is there.
void install(int i) noexcept {
  struct sigaction now{};
  ::sigaction(numbers[i], nullptr, &now);
  if (is_ours(now)) return;
  previous[i] = now;
  struct sigaction ours{};
  ours.sa_sigaction = handler;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | (now.sa_flags & SA_RESTART);
  ::sigaction(numbers[i], &ours, nullptr);
}

std::optional<base::event_fd>& ring() {
  static auto* fd = new std::optional<base::event_fd>();  // tidy: allow new: no static destructors
  if (!*fd) fd->emplace();
  return *fd;
}

}  // namespace

int signal_watch::first() noexcept { return first_signal.load(); }

signal_watch::signal_watch(core::loop& control, signal_mode mode,
                           std::function<void(int, int)> on_signal)
    : control_(control), mode_(mode), on_signal_(std::move(on_signal)), again_(control) {
  if (mode == signal_mode::none) return;
  first_signal = 0;
  recent_ns[0] = recent_ns[1] = 0;
  for (int i = 0; i < 3; ++i) seen_[i] = counts[i].load();
  ring()->clear();
  ring_fd = ring()->fd();
  watch_ = std::make_unique<core::fd_watch>(control_, ring()->fd(), [this] { read(); });
  look_again();
}

signal_watch::~signal_watch() {
  again_.clear();
  if (mode_ == signal_mode::none) return;
  watch_.reset();
  ring_fd = -1;
  for (int i = 0; i < 3; ++i) {
    struct sigaction now{};
    ::sigaction(numbers[i], nullptr, &now);
    if (watched(mode_, i) && is_ours(now)) ::sigaction(numbers[i], &previous[i], nullptr);
  }
  // A handler on another thread that read the number before must not write to whatever gets it
  // next. It is two instructions from its end; should its thread have been parked there, the next
  // watch uses the same descriptor.
  for (int i = 0; i < 1000 && ringing.load() != 0; ++i) ::sched_yield();
  if (ringing.load() == 0) ring().reset();
}

void signal_watch::look_again() {
  for (int i = 0; i < 3; ++i)
    if (watched(mode_, i)) install(i);
  again_.set(std::chrono::milliseconds(100), [this] { look_again(); });
}

void signal_watch::read() {
  ring()->clear();
  for (int i = 0; i < 3; ++i) {
    const int have = counts[i].load();
    if (have == seen_[i]) continue;
    seen_[i] = have;
    const bool again =
        numbers[i] == SIGINT && recent_ns[0] != 0 && recent_ns[1] - recent_ns[0] < 2'000'000'000ll;
    on_signal_(numbers[i], again ? 2 : 1);
  }
}

}  // namespace coppice::tree
