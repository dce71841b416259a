// SPDX-License-Identifier: Apache-2.0
// What a dead network costs, in a network namespace of the test's own.
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>

#include "tests/conformance/kit.hpp"

namespace coppice::conformance {
namespace {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

// The loopback device of this namespace: while it is down, every packet is dropped.
bool set_loopback(bool up) {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  bool done = ::ioctl(fd, SIOCGIFFLAGS, &request) == 0;
  request.ifr_flags =
      static_cast<short>(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
  done = done && ::ioctl(fd, SIOCSIFFLAGS, &request) == 0;
  ::close(fd);
  return done;
}

enum outcome : int { as_promised = 0, not_as_promised = 1, cannot_try = 77 };

// Runs in a process of its own: a namespace is for good.
int call_over_a_network_that_dies(bool python) {
  if (::unshare(CLONE_NEWNET) != 0 || !set_loopback(true)) return cannot_try;
  const kind k{"process_tcp", spawn::process, python, "tcp"};
  const std::string sleep = function(k, "sleep_ms");
  std::string failure = "(none)";
  std::chrono::duration<double> took{};
  run_tree(
      [&](actor& self) -> task<> {
        auto inside = [&](actor_nursery& an) -> task<> {
          portal p = co_await an.start_actor("far", options_for(k));
          set_loopback(false);
          const auto began = steady::now();
          try {
            co_await p.run<std::int64_t>(function_name::parse(sleep), kw("ms", 60'000));
          } catch (const transport_closed& e) {
            failure = e.what();
          }
          took = steady::now() - began;
        };
        co_await open_nursery(self, inside);
      },
      {.peer_silence_max = 2s});
  const bool ok = failure != "(none)" && took > 1s && took < 5s;
  if (!ok) std::fprintf(stderr, "after %.2f s: %s\n", took.count(), failure.c_str());
  return ok ? as_promised : not_as_promised;
}

class Network : public testing::TestWithParam<bool> {};

TEST_P(Network, ThatDropsEveryPacketIsADeadPeerAtTheBound) {
#ifndef COPPICE_HAS_PYTHON
  if (GetParam()) GTEST_SKIP() << "this build has no Python";
#endif
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(call_over_a_network_that_dies(GetParam()));
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == cannot_try)
    GTEST_SKIP() << "no network namespace can be had here: it takes root";
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == as_promised) << status;
}

INSTANTIATE_TEST_SUITE_P(, Network, testing::Values(false, true), [](const auto& one) {
  return std::string(one.param ? "python" : "native");
});

}  // namespace
}  // namespace coppice::conformance
