// SPDX-License-Identifier: Apache-2.0
// capacity_limiter: a number of tokens that can be changed, and who has them.
#pragma once

#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "coppice/detail/holding.hpp"
#include "coppice/detail/promise.hpp"

namespace coppice {

namespace core {
class thread_call;
}

/// Limits how much of something goes on at once, and can say who does it.
///
/// Promises:
/// - At most total_tokens() are lent. Borrowers get tokens in the order in which they asked;
///   whoever asks later cannot overtake one that waits.
/// - A borrower is the task that asks, or a key: of each at most one token. Asking for a second, or
///   while the key waits for its first, throws ownership_error.
/// - Raising the total lets those go on that now have room. Lowering it takes nothing away: tokens
///   that come back are not lent again before fewer than the new total are out.
/// - acquire() is a checkpoint; a cancelled one has not acquired and leaves no trace.
/// - A token is given back when it ends, however its block does: a task's in that task, a key's in
///   whichever task.
///
///     capacity_limiter cores(4, "cores");
///     auto token = co_await cores.acquire();
///     auto other = co_await cores.acquire_for("import of a.csv");  // travels to another task
///
/// # Why not semaphore?
/// Its permits belong to nobody. A task that takes a second one while it has a first can stop every
/// other task, and nobody sees why.
///
/// Owner: a frame that outlives its users. Thread: one loop's.
class capacity_limiter {
 public:
  static constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();

  explicit capacity_limiter(std::size_t total_tokens, std::string_view name = {})
      : total_(total_tokens), name_(name) {}
  capacity_limiter(const capacity_limiter&) = delete;
  capacity_limiter& operator=(const capacity_limiter&) = delete;
  ~capacity_limiter();  // REQUIRES: every token is back (but of abandoned work), nobody waits.

  class token;
  class acquire_op;

  /// Waits for a token, for this task or for a key. Throws ownership_error.
  [[nodiscard("co_await it")]] acquire_op acquire();
  [[nodiscard("co_await it")]] acquire_op acquire_for(std::string_view key);

  /// Never waits. Empty: all tokens are out. Throws ownership_error. The first is called in a task.
  [[nodiscard("the token is given back when it ends")]] std::optional<token> try_acquire();
  [[nodiscard("the token is given back when it ends")]] std::optional<token> try_acquire_for(
      std::string_view key);

  std::size_t total_tokens() const noexcept { return total_; }
  void set_total_tokens(std::size_t total) noexcept;
  std::size_t borrowed_tokens() const noexcept { return borrowed_; }
  std::size_t available_tokens() const noexcept {
    return borrowed_ < total_ ? total_ - borrowed_ : 0;
  }
  std::size_t waiting() const noexcept { return waiters_.count(); }
  const std::string& name() const noexcept { return name_; }

  /// "limiter 'cores', 2 of 4 tokens lent to task 'parse', key 'import of a.csv'; 0 waiting"
  std::string describe() const;

 private:
  struct waiters;  // Tags.
  struct lent_out;
  struct loan;

  // The task may be null if the loan has a key.
  bool claim(const loan& l, const detail::task_node* task);  // False: has one, or asked for it.
  void forget(const loan& l) noexcept;
  bool lend(loan& l, detail::task_node* task) noexcept;  // False: none is left.
  void take_back(loan& l) noexcept;
  void lend_to_waiters() noexcept;
  std::optional<token> try_lend(std::unique_ptr<loan> l, detail::task_node* task);
  [[noreturn]] void throw_has_one(const loan& l) const;

  std::size_t total_;
  std::size_t borrowed_ = 0;
  const std::string name_;
  std::set<std::string_view> keys_;  // Of loans, of those that wait too.
  detail::list<loan, lent_out> loans_;
  detail::list<acquire_op, waiters> waiters_;  // Not empty: nothing is available.
};

/// What one borrower has or waits for. In it a key has a home that does not move.
struct capacity_limiter::loan : detail::list_link<capacity_limiter::lent_out> {
  loan(capacity_limiter& of, std::string_view borrower, bool by_key)
      : limiter(&of), key(borrower), has_key(by_key), holder(&of) {}

  capacity_limiter* limiter;  // Null: it has ended, see `outlives`.
  bool outlives = false;      // Lent to thread work that was abandoned.
  const std::string key;
  const bool has_key;
  detail::holding holder;  // Nobody's if it has a key.
};

/// One token, given back when it ends.
class [[nodiscard("the token is given back when it ends")]] capacity_limiter::token {
 public:
  token(token&& other) noexcept = default;
  token& operator=(token&&) = delete;
  ~token();

  void release();  // Before its end. Throws ownership_error: another task's, or released already.
  bool held() const noexcept { return loan_ != nullptr; }

 private:
  friend class capacity_limiter;
  friend class core::thread_call;
  explicit token(std::unique_ptr<loan> l) noexcept : loan_(std::move(l)) {}
  void outlive_limiter() noexcept { loan_->outlives = true; }
  std::unique_ptr<loan> loan_;
};

class capacity_limiter::acquire_op final : public detail::wait_op,
                                           public detail::list_link<capacity_limiter::waiters> {
 public:
  explicit acquire_op(std::unique_ptr<loan> l) noexcept : loan_(std::move(l)) {}
  acquire_op(acquire_op&& other) noexcept
      : detail::wait_op(), list_link(), loan_(std::move(other.loan_)) {}

  bool begin();
  token finish();
  bool abort() noexcept override;
  std::string describe() const override;

 private:
  friend class capacity_limiter;
  std::unique_ptr<loan> loan_;
  bool refused_ = false;
};

inline capacity_limiter::acquire_op capacity_limiter::acquire() {
  return acquire_op(std::make_unique<loan>(*this, std::string_view(), false));
}
inline capacity_limiter::acquire_op capacity_limiter::acquire_for(std::string_view key) {
  return acquire_op(std::make_unique<loan>(*this, key, true));
}

}  // namespace coppice
