// SPDX-License-Identifier: Apache-2.0
#include "base/thread.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <system_error>

#include "base/assert.hpp"
#include "base/fd.hpp"
#include "base/sanitizers.hpp"

namespace coppice::base {

struct os_thread::state {
  pthread_t handle{};
  std::atomic<pid_t> tid{0};
  std::string name;
  std::function<void()> body;
};

// Of a thread that runs, the file says "running"; of one that waits, the number of its call.
bool is_blocked(pid_t tid) noexcept {
  char path[64], line[16] = {};
  std::snprintf(path, sizeof path, "/proc/self/task/%d/syscall", tid);
  const unique_fd file(::open(path, O_RDONLY | O_CLOEXEC));
  return file && ::read(file.get(), line, sizeof line - 1) > 0 && line[0] >= '0' && line[0] <= '9';
}

void set_thread_name(std::string_view name) noexcept {
  char buffer[16] = {};
  std::memcpy(buffer, name.data(), name.size() < 15 ? name.size() : 15);
  ::pthread_setname_np(::pthread_self(), buffer);
}

os_thread::os_thread(std::string_view name, std::function<void()> body, options o)
    : state_(std::make_shared<state>()) {
  state_->name = name;
  state_->body = std::move(body);
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  if (o.stack_bytes != 0) ::pthread_attr_setstacksize(&attributes, o.stack_bytes);
  // The thread's own reference. A raw pointer across the C boundary, taken back at once.
  auto handed_over = std::make_unique<std::shared_ptr<state>>(state_);
  const int rc = ::pthread_create(
      &state_->handle, &attributes,
      [](void* arg) -> void* {
        {
          std::unique_ptr<std::shared_ptr<state>> box(static_cast<std::shared_ptr<state>*>(arg));
          std::shared_ptr<state> mine = std::move(*box);
          box.reset();
          mine->tid.store(static_cast<pid_t>(::syscall(SYS_gettid)));
          mine->tid.notify_all();
          set_thread_name(mine->name);
          std::function<void()> run = std::move(mine->body);
          mine.reset();
          run();
        }
        return nullptr;
      },
      handed_over.get());
  ::pthread_attr_destroy(&attributes);
  if (rc != 0) {
    state_.reset();
    throw std::system_error(rc, std::generic_category(),
                            "start thread '" + std::string(name) + "'");
  }
  // The new thread owns the box, and may have deleted it by now.
  static_cast<void>(handed_over.release());
}

os_thread::os_thread(os_thread&&) noexcept = default;

os_thread& os_thread::operator=(os_thread&& other) noexcept {
  COPPICE_ASSERT(!joinable(), "a running thread must be joined before its handle is reused");
  state_ = std::move(other.state_);
  return *this;
}

os_thread::~os_thread() {
  COPPICE_ASSERT(!joinable(), "a thread's owner ended without join() or abandon()");
}

void os_thread::join() {
  COPPICE_ASSERT(joinable(), "join() of a thread that is not running");
  ::pthread_join(state_->handle, nullptr);
  state_.reset();
}

bool os_thread::join_for(std::chrono::milliseconds bound) {
  COPPICE_ASSERT(joinable(), "join_for() of a thread that is not running");
  // Thread sanitizer (compiler-rt 19) does not know pthread_clockjoin_np(): to it the thread would
  // never have been joined, and what it wrote would race with whoever reads it now.
  constexpr clockid_t time = under_thread_sanitizer ? CLOCK_REALTIME : CLOCK_MONOTONIC;
  timespec until{};
  ::clock_gettime(time, &until);
  const auto ns = until.tv_nsec + (bound.count() % 1000) * 1'000'000;
  until.tv_sec += bound.count() / 1000 + ns / 1'000'000'000;
  until.tv_nsec = ns % 1'000'000'000;
  const int late = under_thread_sanitizer
                       ? ::pthread_timedjoin_np(state_->handle, nullptr, &until)
                       : ::pthread_clockjoin_np(state_->handle, nullptr, time, &until);
  if (late != 0) return false;
  state_.reset();
  return true;
}

void os_thread::abandon() noexcept {
  if (!state_) return;
  ::pthread_detach(state_->handle);
  state_.reset();
}

pid_t os_thread::tid() const noexcept {
  state_->tid.wait(0);
  return state_->tid.load();
}

pthread_t os_thread::native() const noexcept { return state_->handle; }

}  // namespace coppice::base
