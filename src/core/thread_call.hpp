// SPDX-License-Identifier: Apache-2.0
// One call of to_thread(), where the loop and the thread meet; and all that a loop has of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/worker_pool.hpp"
#include "coppice/capacity_limiter.hpp"
#include "coppice/detail/thread_request.hpp"
#include "coppice/detail/thread_work.hpp"
#include "coppice/introspect.hpp"
#include "coppice/to_thread.hpp"
#include "core/inbox.hpp"
#include "core/loop.hpp"

namespace coppice::core {

/// Of a pool that a loop is given; work with a name of its own changes it for a while.
inline constexpr const char* work_thread_name = "coppice-work";

class thread_crew;
struct in_quarantine;  // Tag.

/// One word, the phase, says whose turn it is, and with it who may touch the work:
///
///     queued -> running -> done                 the thread has it while it runs, then the loop
///               running -> asking -> serving -> running     run() waits, the loop serves
///     queued -> withdrawn                       never begun: the loop's
///               running, asking -> abandoned    the thread's, for good
///
/// Owner: shared by the waiting task's frame, or the crew's list once it is abandoned, and the
/// thread. Thread: as each group says.
class thread_call final : public inbox_item,
                          public detail::list_link<in_quarantine>,
                          public std::enable_shared_from_this<thread_call> {
 public:
  /// `token` stays where it is, in the waiting task's frame, unless the work is abandoned.
  thread_call(thread_crew& crew, std::unique_ptr<detail::thread_work> work,
              capacity_limiter::token& token);

  // --- the loop's ---
  /// Waits until the thread is done (null) or asks for something. The first begins the call.
  class news_op;
  news_op news() noexcept;
  void answered() noexcept;  // What it asked for.
  std::unique_ptr<detail::thread_work> take() noexcept { return std::move(work_); }
  void asks(detail::thread_request& request) noexcept;
  std::string describe() const { return "thread work '" + work_->label() + "'"; }

  void run() override;            // The thread is back.
  void drop() noexcept override;  // Likewise, but the loop has ended.

  // --- its thread's ---
  static thread_call& here(const char* what);  // Of the calling thread. Throws `error`.
  void ask(detail::thread_request& request);
  void check_cancelled() const;

 private:
  friend class thread_crew;
  enum class phase : int { queued, running, asking, serving, done, abandoned, withdrawn };

  void begin();
  bool give_up(const detail::task_node& by) noexcept;
  void tell_cancelled(const detail::task_node& by) noexcept;
  void keep(abandoned_work what) noexcept;
  base::worker_pool::afterwards work_on_thread();
  void report_back();
  bool advance(phase from, phase to) noexcept { return phase_.compare_exchange_strong(from, to); }

  thread_crew& crew_;  // Touched by the loop only.
  const loop_ref loop_;
  std::unique_ptr<detail::thread_work> work_;
  std::atomic<phase> phase_{phase::queued};
  std::atomic<bool> told_{false};              // The call is cancelled; `cause_` is set.
  std::shared_ptr<const cancel_cause> cause_;  // Shared with what is thrown for it.
  std::shared_ptr<thread_call> posted_;        // Itself, while in the inbox.

  // The loop's.
  capacity_limiter::token& token_;
  news_op* waiter_ = nullptr;
  bool begun_ = false;
  base::worker_pool::ticket ticket_ = 0;

  /// What there is of it once it was abandoned.
  struct quarantine {
    std::shared_ptr<thread_call> self;  // Kept by the crew's list.
    capacity_limiter::token token;
    abandoned_work what;
    time_point since;
  };
  std::optional<quarantine> quarantine_;
};

class thread_call::news_op final : public detail::wait_op {
 public:
  static constexpr bool shielded = true;  // It looks itself, for a cancellation need not end it.

  explicit news_op(thread_call& c) noexcept : call_(c) {}
  news_op(news_op&& other) noexcept : detail::wait_op(), call_(other.call_) {}

  bool begin();
  detail::thread_request* finish();
  bool abort() noexcept override;
  std::string describe() const override { return call_.describe(); }

 private:
  friend class thread_call;
  void tell(detail::thread_request* news) noexcept;

  thread_call& call_;
  std::optional<loop::outside_work> outside_;  // While it is the thread's turn.
  detail::thread_request* news_ = nullptr;
  bool cancelled_ = false;
};

inline thread_call::news_op thread_call::news() noexcept { return news_op(*this); }

/// What a loop has of threads: the limiter, where they come from, and the calls that it abandoned.
///
/// Owner: its loop. Thread: the loop's.
class thread_crew {
 public:
  /// Null: threads of its own, joined at the end of each run.
  thread_crew(loop& l, std::shared_ptr<base::worker_pool> shared);
  ~thread_crew();
  thread_crew(const thread_crew&) = delete;
  thread_crew& operator=(const thread_crew&) = delete;

  capacity_limiter& limiter() noexcept { return limiter_; }
  std::uint64_t next_call() noexcept { return ++calls_; }
  void run_ends();

  std::vector<abandoned_work> abandoned() const;

 private:
  friend class thread_call;
  void give_back(thread_call& call) noexcept;

  loop& loop_;
  const bool own_;
  const std::shared_ptr<base::worker_pool> pool_;  // Shared with the runtime's other loops.
  capacity_limiter limiter_{thread_tokens_default, "threads"};
  detail::list<thread_call, in_quarantine> abandoned_;
  std::uint64_t calls_ = 0;
};

}  // namespace coppice::core
