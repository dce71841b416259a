// SPDX-License-Identifier: Apache-2.0
// bench_stream memory|uds|guest BYTES MESSAGES: values of so many bytes from one actor to another,
// through a stream, on two processors. Prints messages/s, and for uds what a message takes on the
// wire and what one system call of the sender writes. bench_stream send MIB: the median time in us
// of a call that hands so much to a guest, in a block that they share.
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "bench/bench.hpp"
#include "bench/endpoints.hpp"

using namespace coppice;

namespace {

// What this process writes to sockets. Counted in place of libc's functions, which ours call: the
// limit is to write as much in each system call, and counting must not change what is measured.
struct {
  std::size_t calls = 0, bytes = 0;
} written;

ssize_t count(long n) {
  if (n > 0) ++written.calls, written.bytes += static_cast<std::size_t>(n);
  return n;
}

struct feed {
  using started = std::int64_t;
  using to_callee = value;  // Taken as it came: the receiver decides what to decode.
  using to_caller = value;
};

task<std::int64_t> drain(context<feed>& ctx, std::int64_t messages) {
  co_await ctx.started(::getpid());
  auto in = ctx.open_stream();
  std::int64_t n = 0;
  while (n < messages) {
    auto v = co_await in.receive();
    if (!v) break;
    ++n;
  }
  co_return n;
}
inline constexpr endpoint drain_endpoint{"bench:drain", drain, "messages"};

struct plan {
  std::string kind;
  std::size_t bytes;
  std::int64_t messages;
};

void pin_callee(const std::string& kind, std::int64_t pid) {
  if (kind == "uds")
    bench::pin_threads(static_cast<pid_t>(pid), "", 1);
  else
    bench::pin_threads(::getpid(), kind == "memory" ? "actor/callee" : "guest/callee", 1);
}

task<> run(portal callee, plan how) {
  const std::vector<std::byte> body(how.bytes);
  bench::clock::time_point begun;
  auto feeding = [&](remote_context<feed>& ctx, std::int64_t pid) -> task<> {
    pin_callee(how.kind, pid);
    auto out = ctx.open_stream();
    for (std::int64_t i = -how.messages / 10; i < how.messages; ++i) {
      if (i == 0) begun = bench::clock::now(), written = {};
      co_await out.send(body);
    }
  };
  const auto all = how.messages + how.messages / 10;  // A tenth to warm up.
  const char* name = how.kind == "guest" ? "stream_guest:drain" : "bench:drain";
  const auto got = co_await callee.open_context<feed, std::int64_t>(
      function_name::parse(std::string_view(name)), kw("messages", all), feeding);
  const double seconds = bench::us_since(begun) / 1e6;
  if (!got || *got != all) throw error("the callee did not receive all that was sent");
  const auto n = static_cast<double>(how.messages);
  fmt::print("{:.0f}", n / seconds);
  if (how.kind == "uds")
    fmt::print(" {:.0f} {:.0f}", static_cast<double>(written.bytes) / n,
               static_cast<double>(written.bytes) / static_cast<double>(written.calls));
  fmt::print("\n");
}

task<> hand_over(portal callee, std::size_t mib) {
  const shared_buffer block(std::vector<std::byte>(mib << 20));
  const auto name = function_name::parse(std::string_view("stream_guest:size"));
  std::vector<double> times;
  for (int i = 0; i < 12; ++i) {
    const auto t = bench::clock::now();
    const auto n = co_await callee.run<std::int64_t>(name, kw("block", block));
    if (n != static_cast<std::int64_t>(block.size())) throw error("the guest got another size");
    if (i >= 2) times.push_back(bench::us_since(t));
  }
  fmt::print("{:.1f}\n", bench::median(times));
}

task<> measure(actor& self, plan how) {
  auto body = [&](actor_nursery& an) -> task<> {
    actor_options o;
    o.backend = how.kind == "memory" ? spawn::thread
                : how.kind == "uds"  ? spawn::process
                                     : spawn::subint;
    if (o.backend == spawn::subint) o.enable_modules = name_list("stream_guest");
    portal callee = co_await an.start_actor("callee", o);
    if (how.kind == "send")
      co_await hand_over(callee, how.bytes);
    else
      co_await run(callee, how);
    an.cancel("measured");
  };
  co_await open_nursery(self, body);
}

}  // namespace

extern "C" ssize_t send(int fd, const void* from, std::size_t n, int flags) {
  return count(::syscall(SYS_sendto, fd, from, n, flags, nullptr, 0));
}
extern "C" ssize_t sendmsg(int fd, const msghdr* m, int flags) {
  return count(::syscall(SYS_sendmsg, fd, m, flags));
}

int main(int argc, char** argv) {
  const bool child = argc > 1 && std::strcmp(argv[1], "--coppice-child") == 0;
  plan how{};
  if (!child) {
    if (argc < 3) return 2;
    how = {argv[1], std::strtoul(argv[2], nullptr, 10), argc > 3 ? std::atol(argv[3]) : 0};
    bench::pin(0, 0);
  }
  auto root = [how](actor& self) -> task<> { co_await measure(self, how); };
  return run_main(argc, argv, root, {.endpoints = {drain_endpoint}});
}
