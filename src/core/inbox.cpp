// SPDX-License-Identifier: Apache-2.0
#include "core/inbox.hpp"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <bit>
#include <memory>

#include "core/reactor_wake.hpp"

namespace coppice::core {

static_assert(std::endian::native == std::endian::little, "the futex is the low half of head_");
static_assert(sizeof(std::atomic<std::uintptr_t>) == sizeof(std::uintptr_t));

namespace {

long futex(std::atomic<std::uintptr_t>& word, int op, std::uint32_t value, const timespec* limit) {
  // The tag and the low bits of the newest item: any push that has to wake changes them.
  return ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), op | FUTEX_PRIVATE_FLAG,
                   value, limit, nullptr, 0);
}

}  // namespace

bool inbox::push(inbox_item& item, bool quiet) noexcept {
  spin_.called();
  std::uintptr_t head = head_.load(std::memory_order_relaxed);
  bool counted = false;
  for (;;) {
    if (head == closed) break;
    const std::uintptr_t asleep = head & tags;
    const bool rings = asleep != 0 && !quiet;
    // Counted before the swap: from then on the loop may run, end, and close() must wait for us.
    if (rings && !counted) {
      ringing_.fetch_add(1);
      counted = true;
    }
    item.next_ = reinterpret_cast<inbox_item*>(head & ~tags);
    const std::uintptr_t next = reinterpret_cast<std::uintptr_t>(&item) | (quiet ? asleep : 0);
    if (!head_.compare_exchange_weak(head, next)) continue;
    if (rings) ring(static_cast<sleep>(asleep));
    break;
  }
  const bool pushed = head != closed;
  if (counted) ringing_.fetch_sub(1);
  return pushed;
}

void inbox::ring(sleep how) noexcept {
  if (how == sleep::on_futex) {
    futex(head_, FUTEX_WAKE, 1, nullptr);
  } else {
    wake_reactor(*reactor_);
  }
}

inbox_item* inbox::oldest_first(std::uintptr_t head) noexcept {
  auto* newest = reinterpret_cast<inbox_item*>(head & ~tags);
  inbox_item* first = nullptr;
  while (newest != nullptr) {
    inbox_item* older = newest->next_;
    newest->next_ = first;
    first = newest;
    newest = older;
  }
  return first;
}

inbox_item* inbox::take() noexcept {
  if (empty()) return nullptr;
  return oldest_first(head_.exchange(0));
}

bool inbox::prepare_sleep(sleep how) noexcept {
  std::uintptr_t nothing = 0;
  if (!head_.compare_exchange_strong(nothing, static_cast<std::uintptr_t>(how))) return false;
  spin_.falls_asleep();
  return true;
}

bool inbox::look(duration limit) noexcept {
  const auto bound = limit < duration::zero() ? base::spin_wait::look_max : limit;
  return spin_.look([this] { return !empty(); }, bound);
}

void inbox::sleep_on_futex(duration limit) noexcept {
  // A quiet push may have changed the word without a call to wake: sleep on what is there now.
  const std::uintptr_t head = head_.load();
  if ((head & tags) != static_cast<std::uintptr_t>(sleep::on_futex)) return;
  timespec until{};
  if (limit >= duration::zero()) {
    until.tv_sec = limit.count() / 1'000'000'000;
    until.tv_nsec = limit.count() % 1'000'000'000;
  }
  futex(head_, FUTEX_WAIT, static_cast<std::uint32_t>(head),
        limit < duration::zero() ? nullptr : &until);
}

inbox_item* inbox::close() noexcept {
  const std::uintptr_t head = head_.exchange(closed);
  // At most the length of one system call of another thread.
  while (ringing_.load() != 0) ::sched_yield();
  return head == closed ? nullptr : oldest_first(head);
}

void posted_function::run() {
  const std::unique_ptr<posted_function> self(this);
  fn_();
}

}  // namespace coppice::core
