// SPDX-License-Identifier: Apache-2.0
#include "spawn/forkserver/zygote.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <list>
#include <utility>
#include <vector>

#include "spawn/process/pidfd.hpp"

namespace coppice::spawn {

namespace {

/// Somebody who may order children.
struct customer {
  base::unique_fd socket;  // Closed: it has gone, and waits for the end of its children.
  std::deque<packet> unsent = {};
};

struct forked_process {
  std::uint64_t number;
  pid_t pid;
  base::unique_fd pidfd;
  customer* by;
};

class zygote_server {
 public:
  zygote_server(base::unique_fd connection, fork_hooks hooks)
      : hooks_(hooks), home_(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)) {
    customers_.push_back({std::move(connection)});
  }

  std::optional<forked_child> serve() {
    tell(customers_.front(), {.news = zygote_news::ready});
    for (;;) {
      wait();
      reap_children();
      if (auto child = take_orders()) return child;
      // The first is whoever started us: without it there is no tree any more.
      if (!customers_.front().socket) return end(), std::nullopt;
      std::erase_if(customers_,
                    [this](const customer& c) { return !c.socket && !has_children(c); });
    }
  }

 private:
  void wait() {
    polled_.clear();
    for (const auto& c : customers_) {
      const short wanted = c.unsent.empty() ? POLLIN : POLLIN | POLLOUT;
      polled_.push_back({c.socket.get(), wanted, 0});  // A closed one is -1, which poll() skips.
    }
    for (const auto& p : children_) polled_.push_back({p.pidfd.get(), POLLIN, 0});
    while (::poll(polled_.data(), polled_.size(), -1) < 0 && errno == EINTR) {
    }
  }

  void reap_children() {
    for (auto p = children_.begin(); p != children_.end();) {
      pollfd ready{p->pidfd.get(), POLLIN, 0};
      siginfo_t info{};
      if (::poll(&ready, 1, 0) != 1 ||
          ::waitid(P_PIDFD, static_cast<id_t>(p->pidfd.get()), &info, WEXITED | WNOHANG) != 0 ||
          info.si_pid == 0) {
        ++p;
        continue;
      }
      tell(*p->by, {.news = zygote_news::ended,
                    .number = p->number,
                    .pid = p->pid,
                    .code = info.si_code,
                    .status = info.si_status});
      p = children_.erase(p);
    }
  }

  std::optional<forked_child> take_orders() {
    for (auto& c : customers_) {
      send_what_waits(c);
      packet p;
      while (c.socket) {
        const auto outcome = receive_packet(c.socket.get(), p);
        if (outcome == packet_outcome::later) break;
        if (outcome == packet_outcome::closed) {
          leave(c);
          break;
        }
        auto order = order_in(p);
        if (!order) {  // Of another version, or no runtime at all.
          leave(c);
          break;
        }
        if (auto child = fork_child(c, std::move(*order))) return child;
      }
    }
    return std::nullopt;
  }

  std::optional<forked_child> fork_child(customer& by, fork_order order) {
    const auto failed = [&](const std::string& step) {
      tell(by, {.news = zygote_news::failed,
                .number = order.number,
                .text = fmt::format("{}: {}", step, std::strerror(errno))});
      return std::nullopt;
    };
    if (!order.cwd.empty() && ::chdir(order.cwd.c_str()) != 0)
      return failed(fmt::format("cannot enter {}", order.cwd));
    std::pair<base::unique_fd, base::unique_fd> ends;
    try {
      ends = packet_pair();
    } catch (const std::exception&) {
      return failed("socketpair");
    }
    // Nothing of what it ignores or handles may strike a child that is not itself yet.
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    const pid_t self = ::getpid();
    if (hooks_.before) hooks_.before();
    const pid_t pid = ::fork();
    const int error = errno;
    if (auto* after = pid == 0 ? hooks_.in_child : hooks_.in_parent) after();
    if (pid == 0) {
      be_a_child(self, order);
      return forked_child{std::move(order), std::move(ends.second)};
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (!order.cwd.empty() && ::fchdir(home_.get()) != 0) std::abort();  // Ours cannot have gone.
    errno = error;
    if (pid < 0) return failed("fork");
    base::unique_fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!pidfd) {
      const auto none = failed("pidfd_open");
      ::kill(pid, SIGKILL);  // Nobody could look after it. Ours to reap, so the pid is its own.
      (void)reap_pid(pid);
      return none;
    }
    packet answer = pack(zygote_answer{.news = zygote_news::forked,
                                       .number = order.number,
                                       .pid = static_cast<std::int32_t>(pid)});
    answer.fd.reset(::fcntl(pidfd.get(), F_DUPFD_CLOEXEC, 0));
    children_.push_back({order.number, pid, std::move(pidfd), &by});
    customers_.push_back({std::move(ends.first)});
    by.unsent.push_back(std::move(answer));
    send_what_waits(by);
    return std::nullopt;
  }

  void be_a_child(pid_t parent, const fork_order& order) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);  // It died before prctl: nobody is left to tell.
    ::prctl(PR_SET_NAME, "coppice-fork");
    customers_.clear();
    children_.clear();
    home_.reset();
    struct sigaction fallback{};
    fallback.sa_handler = SIG_DFL;
    for (const int s : {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2})
      ::sigaction(s, &fallback, nullptr);
    ::clearenv();
    for (const auto& one : order.environment) {
      const auto equals = one.find('=', 1);
      if (equals != std::string::npos)
        ::setenv(one.substr(0, equals).c_str(), one.c_str() + equals + 1, 1);
    }
    sigset_t none;
    ::sigemptyset(&none);
    ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
  }

  void tell(customer& c, const zygote_answer& answer) {
    if (!c.socket) return;
    c.unsent.push_back(pack(answer));
    send_what_waits(c);
  }

  void send_what_waits(customer& c) {
    while (c.socket && !c.unsent.empty()) {
      const auto outcome = send_packet(c.socket.get(), c.unsent.front());
      if (outcome == packet_outcome::later) return;
      if (outcome == packet_outcome::closed) return leave(c);
      c.unsent.pop_front();
    }
  }

  // Its children are killed, and reaped when they have ended.
  void leave(customer& c) {
    c.socket.reset();
    c.unsent.clear();
    for (const auto& p : children_)
      if (p.by == &c) send_signal(p.pidfd.get(), SIGKILL);
  }

  bool has_children(const customer& c) const {
    for (const auto& p : children_)
      if (p.by == &c) return true;
    return false;
  }

  void end() {
    for (const auto& p : children_) send_signal(p.pidfd.get(), SIGKILL);
    for (const auto& p : children_) (void)reap_pid(p.pid);
  }

  const fork_hooks hooks_;
  base::unique_fd home_;
  std::list<customer> customers_;  // A list: children point into it.
  std::list<forked_process> children_;
  std::vector<pollfd> polled_;
};

}  // namespace

std::optional<forked_child> serve_zygote(base::unique_fd connection, fork_hooks hooks) {
  return zygote_server(std::move(connection), hooks).serve();
}

void refuse_to_serve(int connection, const std::string& why) {
  // The first packet on this connection: there is room.
  (void)send_packet(connection, pack(zygote_answer{.news = zygote_news::refuses, .text = why}));
}

}  // namespace coppice::spawn
