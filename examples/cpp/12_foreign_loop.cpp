// SPDX-License-Identifier: Apache-2.0
// A program with a main loop and signals of its own, as an engine has with SDL: actors work while
// frames are drawn. What stands for SDL_PushEvent, or for uv_async_send, is a write to an eventfd.
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <coppice/coppice.hpp>
#include <csignal>
using namespace coppice;
using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

std::int64_t find_path(std::int64_t cells) {  // computes for 50 ms
  for (const auto until = steady::now() + 50ms; steady::now() < until;) {
  }
  return cells / 4 + 1;
}
task<> dream() { co_await sleep_forever(); }
inline constexpr endpoint find_path_e{"ai:find_path", find_path, "cells"};
inline constexpr endpoint dream_e{"ai:dream", dream};

class event_queue {
 public:
  ~event_queue() { ::close(fd_); }
  void push() const { (void)!::write(fd_, &one, sizeof one); }  // From any thread.
  bool wait_until(steady::time_point frame_ends) const {        // True: something was pushed.
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(frame_ends - steady::now()).count();
    pollfd in{fd_, POLLIN, 0};
    if (::poll(&in, 1, left > 0 ? static_cast<int>(left) : 0) != 1) return false;
    std::uint64_t count = 0;
    return ::read(fd_, &count, sizeof count) == sizeof count;
  }

 private:
  static constexpr std::uint64_t one = 1;
  int fd_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
};

volatile std::sig_atomic_t interrupted = 0;  // SIGINT is the program's own business.

int main() {
  std::signal(SIGINT, [](int) { interrupted = 1; });
  event_queue events;  // Before the runtime: its calls push until they have ended.
  runtime rt({.endpoints = {find_path_e, dream_e}, .handled = signals::none});
  auto ai = rt.start_actor("ai", {.backend = spawn::thread});
  auto dreamer = rt.start_actor("dreamer", {.backend = spawn::thread});

  auto dreaming = dreamer.start({.on_done = [&] { events.push(); }}, dream_e);
  auto path = ai.start({.within = 10s, .on_done = [&] { events.push(); }}, find_path_e, 64);
  int frames = 0;
  while (!interrupted) {
    const auto frame_ends = steady::now() + 4ms;
    ++frames;  // update(); draw();
    if (!events.wait_until(frame_ends) || !path.ready()) continue;
    std::printf("%d steps; frames went on meanwhile: %s\n", static_cast<int>(path.take()),
                frames > 1 ? "yes" : "no");
    std::raise(SIGINT);  // the player has seen enough
  }
  const auto began = steady::now();
  const bool clean = rt.stop(2s);
  const std::chrono::duration<double> took = steady::now() - began;
  std::printf("stopped: %s, in time: %s\n", clean ? "nothing is left" : "something is stuck",
              took < 2s ? "yes" : "no");
  try {
    dreaming.take();  // Each call is done once, this one by the end of the runtime.
  } catch (const error&) {
    std::puts("the dream was ended");
  }
  if (!clean) leave(1);
}
