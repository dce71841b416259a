// SPDX-License-Identifier: Apache-2.0
// What tests of links share: a sink that writes down, a socket directory of their own, a raw peer.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "coppice/time.hpp"
#include "core/loop.hpp"
#include "ipc/link.hpp"
#include "ipc/sockets.hpp"

namespace coppice::ipc::test {

using namespace std::chrono_literals;

inline constexpr auto patience = std::chrono::seconds(10);  // Of every wait in a test.

inline msg::aid aid(const std::string& name, bool ours = true) {
  msg::aid a;
  a.name = name;
  a.uuid = "uuid-of-" + name;
  a.pid = ::getpid();
  a.is_registrar = false;
  if (ours) a.extensions.emplace();
  return a;
}

inline msg::message numbered(std::int64_t n) { return msg::returned{"cid", to_payload(n)}; }
inline std::int64_t number_of(const msg::message& m) {
  return from_payload<std::int64_t>(std::get<msg::returned>(m).pld);
}

/// Waits on the loop until something is so. False: it did not become so.
inline task<bool> until(std::function<bool()> so) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!so()) {
    if (std::chrono::steady_clock::now() > end) co_return false;
    co_await sleep_for(1ms);
  }
  co_return true;
}

/// Writes down what a link tells it. Thread: any.
class recorder : public link_sink {
 public:
  void on_connected(const link_ptr& l) override {
    note([&] {
      EXPECT_EQ(closed_, 0u) << "connected after the end";
      links_.push_back(l);
    });
    if (then_connected) then_connected(l);
  }
  void on_message(const link_ptr& from, msg::message&& m, urgency u) override {
    if (before_message) before_message(from, m);
    note([&] {
      EXPECT_FALSE(links_.empty()) << "a message before the link";
      EXPECT_EQ(closed_, 0u) << "a message after the end";
      messages_.push_back(std::move(m));
      urgencies_.push_back(u);
    });
  }
  void on_closed(const link_ptr&, const std::string& why) override {
    note([&] {
      EXPECT_FALSE(links_.empty()) << "the end before the beginning";
      ++closed_;
      why_ = why;
    });
  }

  bool wait(std::function<bool()> so) {  // `so` runs under the lock: use the fields below only.
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience, so);
  }
  bool wait_messages(std::size_t n) {
    return wait([&] { return messages_.size() >= n; });
  }
  bool wait_closed() {
    return wait([&] { return closed_ > 0; });
  }

  link_ptr link() {
    std::lock_guard lock(mutex_);
    return links_.empty() ? nullptr : links_.front();
  }
  std::vector<link_ptr> links() { return read(&recorder::links_); }
  std::size_t connected() { return read(&recorder::links_).size(); }
  std::vector<msg::message> messages() { return read(&recorder::messages_); }
  std::vector<urgency> urgencies() { return read(&recorder::urgencies_); }
  std::size_t closed() { return read(&recorder::closed_); }
  std::string why() { return read(&recorder::why_); }
  void clear_messages() {
    std::lock_guard lock(mutex_);
    messages_.clear();
  }
  void forget() {  // A link that is kept keeps its loop.
    std::lock_guard lock(mutex_);
    links_.clear();
  }

  // Set before the link exists.
  std::function<void(const link_ptr&)> then_connected;
  std::function<void(const link_ptr&, const msg::message&)> before_message;

 private:
  template <class F>
  void note(F f) {
    std::lock_guard lock(mutex_);
    f();
    changed_.notify_all();
  }
  template <class T>
  T read(T recorder::* field) {
    std::lock_guard lock(mutex_);
    return this->*field;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<link_ptr> links_;
  std::vector<msg::message> messages_;
  std::vector<urgency> urgencies_;
  std::size_t closed_ = 0;
  std::string why_;
};

/// A directory that goes with the test; $XDG_RUNTIME_DIR meanwhile.
class own_runtime_directory {
 public:
  own_runtime_directory() {
    char name[] = "/tmp/coppice-test-XXXXXX";
    path_ = ::mkdtemp(name);
    if (const char* old = ::getenv("XDG_RUNTIME_DIR")) before_ = old;
    ::setenv("XDG_RUNTIME_DIR", path_.c_str(), 1);
  }
  ~own_runtime_directory() {
    if (before_)
      ::setenv("XDG_RUNTIME_DIR", before_->c_str(), 1);
    else
      ::unsetenv("XDG_RUNTIME_DIR");
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  own_runtime_directory(const own_runtime_directory&) = delete;
  own_runtime_directory& operator=(const own_runtime_directory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::optional<std::string> before_;
};

inline std::string bytes_of(const msg::message& m) {
  msgpack::buffer out;
  msg::encode_frame(m, out, msg::dialect::coppice);
  return {reinterpret_cast<const char*>(out.data()), out.size()};
}
inline std::string frame_of(std::string_view body) {
  std::string out;
  for (int i = 0; i < 4; ++i) out += static_cast<char>(body.size() >> (8 * i) & 0xff);
  return out.append(body);
}

/// The other end of a socket, without any of our code: it may do as it likes.
class raw_peer {
 public:
  explicit raw_peer(base::unique_fd fd) : fd_(std::move(fd)) {}
  raw_peer(raw_peer&& other) noexcept
      : fd_(std::move(other.fd_)), in_(std::move(other.in_)), closed_(other.closed_) {}
  static raw_peer connect(const address& to) {
    const endpoint where = endpoint_of(to).value();
    base::unique_fd fd(::socket(where.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(fd.get(), where.data(), static_cast<socklen_t>(where.size())) != 0) fd.reset();
    return raw_peer(std::move(fd));
  }

  int fd() const { return fd_.get(); }
  void close() { fd_.reset(); }

  /// Sends all of it; false: the other side has closed.
  task<bool> send(std::string bytes) {
    std::size_t sent = 0;
    while (sent < bytes.size()) {
      const auto n =
          ::send(fd(), bytes.data() + sent, bytes.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n > 0)
        sent += static_cast<std::size_t>(n);
      else if (errno != EAGAIN)
        co_return false;
      else
        co_await sleep_for(1ms);
    }
    co_return true;
  }
  task<bool> send(msg::message m) {
    std::string bytes = bytes_of(m);
    co_return co_await send(std::move(bytes));
  }

  /// The next message, or nothing: the other side has closed.
  task<std::optional<msg::message>> receive() {
    for (;;) {
      if (in_.size() >= 4) {
        const auto header = std::as_bytes(std::span(in_)).first<4>();
        const std::size_t length = msg::frame_length(header);
        if (in_.size() >= 4 + length) {
          const auto body = std::as_bytes(std::span(in_)).subspan(4, length);
          msg::message m = msg::decode(payload::copy_of(body));
          in_.erase(0, 4 + length);
          co_return std::optional<msg::message>(std::move(m));
        }
      }
      const bool more = co_await fill();
      if (!more) co_return std::nullopt;
    }
  }
  /// Waits for the other side to close, whatever comes before. False: it did not.
  task<bool> wait_closed() {
    for (;;) {
      in_.clear();
      const bool more = co_await fill();
      if (!more) co_return closed_;
    }
  }
  /// Aids both ways.
  task<bool> shake_hands(msg::aid self) {
    const bool sent = co_await send(msg::message(std::move(self)));
    const auto theirs = co_await receive();
    co_return sent&& theirs&& std::holds_alternative<msg::aid>(*theirs);
  }
  /// Takes what is there, at most `n` bytes. Does not wait.
  void read_some(std::size_t n) {
    std::string part(n, '\0');
    const auto got = ::recv(fd(), part.data(), n, MSG_DONTWAIT);
    if (got > 0) in_.append(part, 0, static_cast<std::size_t>(got));
  }

 private:
  task<bool> fill() {
    const auto end = std::chrono::steady_clock::now() + patience;
    std::string part(64 * 1024, '\0');
    for (;;) {
      const auto n = ::recv(fd(), part.data(), part.size(), MSG_DONTWAIT);
      if (n > 0) {
        in_.append(part, 0, static_cast<std::size_t>(n));
        co_return true;
      }
      closed_ = n == 0 || errno != EAGAIN;
      if (closed_ || std::chrono::steady_clock::now() > end) co_return false;
      co_await sleep_for(1ms);
    }
  }

  base::unique_fd fd_;
  std::string in_;
  bool closed_ = false;
};

inline std::size_t open_descriptors() {
  const std::filesystem::directory_iterator fds("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(fds), end(fds)));
}

/// A test lets go of its loop: nothing else may keep it, nor a descriptor beyond those of before.
inline void expect_released(std::shared_ptr<core::loop>& loop, std::size_t descriptors) {
  const std::weak_ptr<core::loop> seen = loop;
  loop.reset();
  EXPECT_TRUE(seen.expired()) << "something kept the loop: a link that was not closed?";
  EXPECT_LE(open_descriptors(), descriptors);
}

}  // namespace coppice::ipc::test
