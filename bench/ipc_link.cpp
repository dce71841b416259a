// SPDX-License-Identifier: Apache-2.0
// One socket link to another, a loop and a thread each: what framing and batching leave of a bare
// socket copy of the same bytes. Prints "name value" lines.
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "base/thread.hpp"
#include "coppice/event.hpp"
#include "coppice/message.hpp"
#include "coppice/time.hpp"
#include "core/loop.hpp"
#include "core/reactor.hpp"
#include "ipc/socket_link.hpp"
#include "ipc/sockets.hpp"

namespace {

using namespace coppice;
using steady = std::chrono::steady_clock;

double seconds_since(steady::time_point t) {
  return std::chrono::duration<double>(steady::now() - t).count();
}

struct counter final : ipc::link_sink {
  void on_connected(const ipc::link_ptr& l) override { link = l; }
  void on_message(const ipc::link_ptr&, msg::message&&, ipc::urgency) override {
    got.fetch_add(1, std::memory_order_relaxed);
  }
  void on_closed(const ipc::link_ptr&, const std::string&) override { closed = true; }
  ipc::link_ptr link;
  std::atomic<std::int64_t> got{0};
  std::atomic<bool> closed{false};
};

std::shared_ptr<ipc::socket_link> open_link(const std::shared_ptr<core::loop>& on, int fd,
                                            const std::string& name,
                                            const std::shared_ptr<counter>& sink) {
  msg::aid self;
  self.name = self.uuid = name;
  self.extensions.emplace();
  ipc::socket s(core::io_context_of(*on), ipc::socket_protocol(AF_UNIX, 0), fd);
  auto made = std::make_shared<ipc::socket_link>(on, ipc::make_stream(std::move(s), {}), self, sink,
                                                 ipc::limits{});
  made->begin([](std::exception_ptr, ipc::link_ptr) {});
  return made;
}

// Sends `count` messages with such a payload, never more than `ahead` that the other side has not
// counted, and gives the time in seconds.
double through_links(std::size_t payload_bytes, std::int64_t count, std::int64_t ahead) {
  int fds[2];
  (void)::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
  const auto to = std::make_shared<counter>(), from = std::make_shared<counter>();
  base::os_thread receiver("receiver", [&] {
    const auto loop = std::make_shared<core::loop>();
    const auto l = open_link(loop, fds[1], "to", to);
    loop->run([](std::shared_ptr<counter> sink) -> task<> {
      while (!sink->closed) co_await sleep_for(std::chrono::milliseconds(1));
      sink->link.reset();
    }(to));
  });
  const auto loop = std::make_shared<core::loop>();
  const auto l = open_link(loop, fds[0], "from", from);
  double took = 0;
  const payload body = to_payload(std::string(payload_bytes, 'x'));
  auto send = [&]() -> task<> {
    while (!from->link) co_await checkpoint();
    const auto began = steady::now();
    for (std::int64_t sent = 0; sent < count;) {
      const std::int64_t room = ahead - (sent - to->got.load(std::memory_order_relaxed));
      for (std::int64_t n = std::min(room, count - sent); n > 0; --n, ++sent)
        l->send(msg::yield{"00000000-0000-0000-0000-000000000000", body}, ipc::urgency::now);
      // Not checkpoint(): who turns in circles takes the core from the other side.
      co_await sleep_for(std::chrono::microseconds(20));
    }
    while (to->got < count) co_await sleep_for(std::chrono::microseconds(20));
    took = seconds_since(began);
    l->close("done");
  };
  loop->run(send());
  from->link.reset();
  receiver.join();
  return took;
}

// The same number of bytes through a bare socket, in system calls of such a size.
double through_a_socket(std::size_t bytes_per_call, std::int64_t bytes) {
  int fds[2];
  (void)::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
  const auto began = steady::now();
  base::os_thread reader("reader", [&] {
    std::vector<char> room(bytes_per_call);
    for (std::int64_t left = bytes; left > 0;) {
      const auto n = ::read(fds[1], room.data(), room.size());
      if (n <= 0) return;
      left -= n;
    }
  });
  const std::vector<char> out(bytes_per_call, 'x');
  for (std::int64_t left = bytes; left > 0;) {
    const auto n = ::write(fds[0], out.data(), std::min<std::size_t>(out.size(), left));
    if (n <= 0) return 0;
    left -= n;
  }
  reader.join();
  const double took = seconds_since(began);
  ::close(fds[0]);
  ::close(fds[1]);
  return took;
}

}  // namespace

int main() {
  for (int round = 0; round < 3; ++round) {
    constexpr std::int64_t small = 2'000'000, large = 30'000;
    const double s = through_links(64, small, 20'000);
    const double l = through_links(64 * 1024, large, 64);
    const double raw = through_a_socket(64 * 1024, large * 64 * 1024);
    std::printf("ipc_link.msgs_64b_per_s %.0f\n", static_cast<double>(small) / s);
    std::printf("ipc_link.gb_per_s_64kib %.2f\n", static_cast<double>(large) * 65536e-9 / l);
    std::printf("ipc_link.raw_gb_per_s_64kib %.2f\n", static_cast<double>(large) * 65536e-9 / raw);
  }
}
