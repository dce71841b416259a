// SPDX-License-Identifier: Apache-2.0
#include "spawn/forkserver/zygote_client.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <deque>
#include <map>
#include <optional>
#include <utility>

#include "core/alarm.hpp"
#include "core/fd_watch.hpp"
#include "ipc/listener.hpp"
#include "spawn/orphans.hpp"
#include "spawn/process/pidfd.hpp"

namespace coppice::spawn {

namespace {

constexpr duration send_again_after = std::chrono::milliseconds(2);
constexpr duration reap_again_after = std::chrono::milliseconds(5);
// From the end of its connection to its own: then it is killed.
constexpr duration end_within = std::chrono::milliseconds(250);

exit_report failed_because(std::string why) {
  exit_report report;
  report.how = exit_report::cause::failed;
  report.detail = std::move(why);
  return report;
}

}  // namespace

std::vector<std::string> with_preload(std::vector<std::string> argv,
                                      const zygote_preload& preload) {
  // For who finds it when its tree has gone: orphans.hpp.
  argv.insert(argv.end(), {"--owner", std::to_string(::getpid())});
  argv.insert(argv.end(), preload.sys_path.begin(), preload.sys_path.end());
  argv.emplace_back("--");
  argv.insert(argv.end(), preload.modules.begin(), preload.modules.end());
  return argv;
}

/// One zygote, from its start to its end, and the children that were ordered from it. Keeps itself
/// alive by what it waits for.
class zygote_client::incarnation : public std::enable_shared_from_this<incarnation> {
 public:
  /// `is_ours`: it is being executed by us, which makes it ours to reap.
  incarnation(core::loop& control, base::unique_fd socket, bool is_ours)
      : control_(control),
        socket_(std::move(socket)),
        send_again_(control),
        to_reap_(is_ours),
        end_(control) {}

  void open() {
    watch_ = std::make_unique<core::fd_watch>(control_, socket_.get(), [this] {
      const auto keep = shared_from_this();
      read();
    });
  }

  bool is_open() const noexcept { return static_cast<bool>(socket_); }
  bool is_over() const noexcept { return !is_open() && !to_reap_ && orders_.empty(); }

  // On the spawner's thread: shut_down() reads it after that has ended, the loop after it is told.
  void keep(started_process p) { process_ = std::move(p); }

  void started(const std::string& program) {
    if (process_.pid < 0) {
      const std::string why = fmt::format("cannot start the zygote {}: {}: {}", program,
                                          process_.step, std::strerror(process_.error));
      to_reap_ = false;
      close_connection();
      return fail_all(why);
    }
    process_end_ = std::make_unique<core::fd_watch>(control_, process_.pidfd.get(), [this] {
      const auto keep = shared_from_this();
      process_end_.reset();
      process_ended();
    });
  }

  void order(const fork_order& wanted, std::shared_ptr<fork_observer> who) {
    unsent_.push_back(pack(wanted));
    orders_.emplace(wanted.number, ordered{std::move(who), false});
    send_what_waits();
  }

  // The control loop has ended, and the spawner's thread, which takes the zygote with it.
  void end_and_reap() {
    send_again_.clear();
    end_.clear();
    watch_.reset();
    process_end_.reset();
    socket_.reset();
    if (!std::exchange(to_reap_, false) || process_.pid < 0) return;
    send_signal(process_.pidfd.get(), SIGKILL);
    // Of a killed process a moment away, unless the kernel keeps it: then it is init's.
    pollfd ended{process_.pidfd.get(), POLLIN, 0};
    if (::poll(&ended, 1, 1000) == 1) (void)reap(process_.pidfd.get());
  }

 private:
  struct ordered {
    std::shared_ptr<fork_observer> who;
    bool forked = false;
  };

  void send_what_waits() {
    while (is_open() && !unsent_.empty()) {
      const auto outcome = send_packet(socket_.get(), unsent_.front());
      if (outcome == packet_outcome::later)
        return send_again_.set(send_again_after, [this] { send_what_waits(); });
      if (outcome == packet_outcome::closed) return;  // What is to be read says so as well.
      unsent_.pop_front();
    }
  }

  void read() {
    packet p;
    while (is_open()) {
      const auto outcome = receive_packet(socket_.get(), p);
      if (outcome == packet_outcome::later) return;
      auto answer = outcome == packet_outcome::done ? answer_in(p) : std::nullopt;
      if (!answer) return connection_closed();
      take(*answer, std::move(p.fd));
    }
  }

  void take(const zygote_answer& answer, base::unique_fd pidfd) {
    if (answer.news == zygote_news::ready) return;
    if (answer.news == zygote_news::refuses) {
      refusal_ = answer.text;
      return;
    }
    const auto found = orders_.find(answer.number);
    if (found == orders_.end()) return;
    if (answer.news == zygote_news::forked) {
      found->second.forked = true;
      return found->second.who->forked(answer.pid, std::move(pidfd));
    }
    const auto who = std::move(found->second.who);
    orders_.erase(found);
    who->gone(answer.news == zygote_news::ended ? exit_of(answer.code, answer.status)
                                                : failed_because(answer.text));
  }

  void close_connection() {
    watch_.reset();
    socket_.reset();
    send_again_.clear();
  }

  // Its end follows, and says more than this.
  void connection_closed() {
    close_connection();
    if (!to_reap_) return fail_all("the zygote has ended");
    if (!process_end_) return;  // It is not even known to run.
    end_.set(end_within, [this] { send_signal(process_.pidfd.get(), SIGKILL); });
  }

  void process_ended() {
    const auto report = reap(process_.pidfd.get());
    if (!report)
      return end_.set(reap_again_after, [this] {
        const auto keep = shared_from_this();
        process_ended();
      });
    end_.clear();
    if (is_open()) read();  // What it said last.
    close_connection();
    to_reap_ = false;
    fail_all(refusal_.empty() ? "the zygote has ended: " + report->text() : refusal_);
  }

  void fail_all(const std::string& why) {
    for (auto& [number, one] : std::exchange(orders_, {}))
      one.forked ? one.who->orphaned(why) : one.who->gone(failed_because(why));
  }

  core::loop& control_;
  base::unique_fd socket_;
  std::unique_ptr<core::fd_watch> watch_;
  std::deque<packet> unsent_;
  core::alarm send_again_;
  bool to_reap_;
  started_process process_;
  std::unique_ptr<core::fd_watch> process_end_;
  core::alarm end_;
  std::string refusal_;  // Its own words, if it does not serve.
  std::map<std::uint64_t, ordered> orders_;
};

zygote_client::zygote_client(std::shared_ptr<core::loop> control, zygote_source source)
    : control_(std::move(control)), source_(std::move(source)) {}

zygote_client::~zygote_client() { shut_down(); }

void zygote_client::require() const {
  if (!source_.connection || !*source_.connection) (void)source_.program();
}

void zygote_client::order(fork_order wanted, std::shared_ptr<fork_observer> who) {
  if (!now_ || !now_->is_open()) {
    std::erase_if(all_, [](const auto& one) { return one->is_over(); });
    if (source_.connection && *source_.connection) {
      now_ = std::make_shared<incarnation>(*control_, std::move(*source_.connection), false);
    } else {
      command c;
      c.argv = source_.program();
      const std::string program = c.argv.at(0);
      for (char** e = environ; *e; ++e) c.environment.emplace_back(*e);
      c.environment.push_back(fmt::format("{}={}", zygote_variable, ::getpid()));
      c.deaf_to_sigint = true;
      auto [ours, theirs] = packet_pair();
      c.inherit = theirs.get();
      now_ = std::make_shared<incarnation>(*control_, std::move(ours), true);
      // Its own descriptor has to be open until the zygote has it.
      spawner_.start(std::move(c), [me = now_, control = control_, program,
                                    open = std::make_shared<base::unique_fd>(std::move(theirs))](
                                       started_process p) {
        open->reset();
        me->keep(std::move(p));
        control->post([me, program] { me->started(program); });
      });
      // Of a tree that was killed whole nobody was left to do it.
      aside([] { ipc::remove_dead_sockets(); });
    }
    all_.push_back(now_);
    now_->open();
  }
  wanted.number = ++last_number_;
  now_->order(wanted, std::move(who));
}

void zygote_client::shut_down() {
  spawner_.stop();
  for (const auto& one : all_) one->end_and_reap();
  all_.clear();
  now_.reset();
}

}  // namespace coppice::spawn
