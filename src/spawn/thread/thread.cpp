// SPDX-License-Identifier: Apache-2.0
#include "spawn/thread/thread.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <utility>

#include "base/thread.hpp"
#include "base/worker.hpp"
#include "coppice/errors.hpp"

namespace coppice::spawn {

namespace {

constexpr auto join_at_a_time = std::chrono::milliseconds(20);

/// A thread, and what is to be said when it has ended. Shared by the child's handle, the thread
/// itself and the joiner, of which any may be the last.
struct native_thread {
  base::os_thread thread;
  std::atomic<bool> stored{false};  // `thread` is set: from now on the joiner's.
  std::atomic<pid_t> tid{0};        // Until it has begun.
  std::shared_ptr<child_observer> observer;
  exit_report report;

  void give_up() {
    thread.abandon();
    observer.reset();  // Which has us by its child.
  }
};

/// Joins threads that are at their end, where waiting for them holds up nobody: the destructors of
/// what user code has in thread_local variables may take their time, or never return.
class joiner {
 public:
  void join(std::shared_ptr<native_thread> t) {
    thread_.post([this, t = std::move(t)]() mutable {
      t->stored.wait(false);
      if (t->thread.join_for(join_at_a_time))
        std::exchange(t->observer, nullptr)->ended(std::move(t->report));
      else if (stopping_)
        t->give_up();
      else  // Behind the others: each is held up by one that hangs, but not for long.
        join(std::move(t));
    });
  }
  void stop() {
    stopping_ = true;
    thread_.stop();
  }

 private:
  std::atomic<bool> stopping_{false};
  base::worker thread_{"coppice-join"};
};

class thread_child final : public child {
 public:
  explicit thread_child(std::shared_ptr<const native_thread> of) : of_(std::move(of)) {}

  bool interrupt() override { return false; }
  bool force() override { return false; }
  void abandon() override {}  // Should its code come back, ended() is told like any.
  std::string describe() const override {
    const pid_t tid = of_->tid;
    return tid ? fmt::format("thread {}", tid) : "a thread that has not begun";
  }

 private:
  const std::shared_ptr<const native_thread> of_;
};

class thread_backend final : public backend {
 public:
  explicit thread_backend(native_entry entry) : entry_(std::move(entry)) {}

  std::string_view key() const override { return "thread"; }
  capabilities can() const override {
    return {.native = true, .python = false, .in_process = true, .can_be_killed = false};
  }

  std::optional<std::string> refusal(const child_spec& spec) override {
    if (!spec.native)
      return "the backend 'thread' runs C++ actors only; use 'subint' or 'process' for Python "
             "modules";
    if (!spec.cwd.empty())
      return "thread: the working directory belongs to the whole process; use 'process' for an "
             "actor with its own";
    return std::nullopt;
  }

  std::unique_ptr<child> start(const child_spec& spec,
                               std::shared_ptr<child_observer> observer) override {
    auto made = std::make_shared<native_thread>();
    made->observer = std::move(observer);
    made->thread = base::os_thread(
        "actor/" + spec.self.name,
        [this, made, mine = std::make_shared<child_spec>(spec)]() mutable {
          made->tid = ::gettid();
          made->report = run(*mine);
          mine.reset();  // Its parent's port: nothing of the child is left when ended() is told.
          joiner_.join(std::move(made));
        });
    made->stored = true;
    made->stored.notify_all();
    return std::make_unique<thread_child>(std::move(made));
  }

  void shut_down() override { joiner_.stop(); }

 private:
  exit_report run(const child_spec& spec) {
    try {
      return entry_(spec);
    } catch (...) {
      exit_report report;
      report.how = exit_report::cause::failed;
      report.detail = describe_exception(std::current_exception());
      return report;
    }
  }

  const native_entry entry_;
  joiner joiner_;
};

}  // namespace

std::unique_ptr<backend> make_thread_backend(native_entry entry) {
  return std::make_unique<thread_backend>(std::move(entry));
}

}  // namespace coppice::spawn
