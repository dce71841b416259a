// SPDX-License-Identifier: Apache-2.0
#include "spawn/thread/thread.hpp"

#include <fmt/format.h>

#include <utility>

#include "base/thread.hpp"

namespace coppice::spawn {

namespace {

class thread_child final : public child {
 public:
  explicit thread_child(base::os_thread thread) : thread_(std::move(thread)), tid_(thread_.tid()) {}
  ~thread_child() override {
    if (thread_.joinable()) thread_.join();  // ended() was its last act.
  }

  bool interrupt() override { return false; }
  bool force() override { return false; }
  // The thread is not detached: should its code come back, ended() is told and we are destroyed.
  void abandon() override {}
  std::string describe() const override { return fmt::format("thread {}", tid_); }

 private:
  base::os_thread thread_;
  const pid_t tid_;
};

class thread_backend final : public backend {
 public:
  explicit thread_backend(native_entry entry) : entry_(std::move(entry)) {}

  std::string_view key() const override { return "thread"; }
  capabilities can() const override {
    return {.native = true, .python = false, .in_process = true, .can_be_killed = false};
  }

  std::optional<std::string> refusal(const child_spec& spec) override {
    if (spec.native) return std::nullopt;
    return "the backend 'thread' runs C++ actors only; use 'subint' or 'process' for Python "
           "modules";
  }

  std::unique_ptr<child> start(const child_spec& spec,
                               std::shared_ptr<child_observer> observer) override {
    return std::make_unique<thread_child>(base::os_thread(
        "actor/" + spec.self.name, [entry = entry_, mine = std::make_shared<child_spec>(spec),
                                    observer = std::move(observer)]() mutable {
          exit_report report = entry(*mine);
          mine.reset();  // Its parent's port: nothing of the child is left when ended() is told.
          observer->ended(std::move(report));
        }));
  }

 private:
  const native_entry entry_;
};

}  // namespace

std::unique_ptr<backend> make_thread_backend(native_entry entry) {
  return std::make_unique<thread_backend>(std::move(entry));
}

}  // namespace coppice::spawn
