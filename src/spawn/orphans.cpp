// SPDX-License-Identifier: Apache-2.0
#include "spawn/orphans.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <map>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include "base/file_text.hpp"
#include "base/process_stat.hpp"
#include "ipc/address.hpp"
#include "ipc/listener.hpp"
#include "spawn/process/pidfd.hpp"

namespace coppice::spawn {

namespace {

namespace fs = std::filesystem;
using steady = std::chrono::steady_clock;

constexpr std::size_t shown_bytes_max = 160;
constexpr std::chrono::milliseconds connect_within{500};

// --- what /proc says ---

std::string file_of(pid_t pid, const char* name) { return fmt::format("/proc/{}/{}", pid, name); }

/// Does it run as us, whoever we are: a real and an effective user that are ours?
bool is_ours(pid_t pid) {
  std::istringstream lines(base::file_text(file_of(pid, "status")));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("Uid:")) continue;
    std::istringstream ids(line.substr(4));
    uid_t real = 0, effective = 0;
    ids >> real >> effective;
    return ids && real == ::getuid() && effective == ::geteuid();
  }
  return false;
}

// A pid in an argument of a process means something in that process's namespace only.
bool shares_our_pids(pid_t pid) {
  struct stat own{}, other{};
  return ::stat("/proc/self/ns/pid", &own) == 0 &&
         ::stat(file_of(pid, "ns/pid").c_str(), &other) == 0 && own.st_ino == other.st_ino &&
         own.st_dev == other.st_dev;
}

bool has_coppice_in_it(pid_t pid) {
  const std::string maps = base::file_text(file_of(pid, "maps"));
  return maps.find("libcoppice") != std::string::npos || maps.find("_coppice") != std::string::npos;
}

/// Each ended by a NUL.
std::vector<std::string> words_in(const std::string& path) {
  const std::string text = base::file_text(path);
  std::vector<std::string> words;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\0', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

std::vector<std::string> arguments_of(pid_t pid) { return words_in(file_of(pid, "cmdline")); }

bool has_ended(const base::unique_fd& pidfd) {
  pollfd p{pidfd.get(), POLLIN, 0};
  return ::poll(&p, 1, 0) != 0;
}

// --- how children are started ---

pid_t pid_from(std::string_view digits) {
  pid_t pid = 0;
  const auto [stopped, error] = std::from_chars(digits.data(), digits.data() + digits.size(), pid);
  return error == std::errc() && stopped == digits.data() + digits.size() && pid > 0 ? pid : 0;
}

/// What a command line says of a process that may be ours.
struct mark {
  std::string name;
  std::optional<ipc::address> parent;  // Of a child.
  pid_t owner = 0;                     // Of a zygote, and of what it forked.
};

std::optional<mark> zygote_mark(pid_t pid) {
  const std::string wanted = std::string(zygote_variable) + "=";
  pid_t owner = 0;  // The last counts: whoever executed it may have had one from above.
  for (const std::string& variable : words_in(file_of(pid, "environ")))
    if (variable.starts_with(wanted))
      owner = pid_from(std::string_view(variable).substr(wanted.size()));
  if (owner == 0) return std::nullopt;
  return mark{"(zygote)", std::nullopt, owner};
}

std::optional<mark> mark_of(pid_t pid, const std::vector<std::string>& argv) {
  std::size_t options = 0;
  bool is_tractors = false;
  if (argv.size() > 1 && argv[1] == "--coppice-child") {
    options = 2;
  } else if (argv.size() > 2 && argv[1] == "-P" && argv[2].ends_with("/coppice/_child.py")) {
    options = 3;
  } else if (argv.size() > 2 && argv[1] == "-m" && argv[2] == "tractor._child") {
    options = 3;
    is_tractors = true;
  } else if (argv.size() > 2 && argv[1] == "-P" && argv[2].ends_with("/coppice/_zygote.py")) {
    return zygote_mark(pid);
  }
  if (options == 0 || argv.size() < options + 4) return std::nullopt;
  if (argv[options] != "--uid" || argv[options + 2] != "--parent_addr") return std::nullopt;
  try {
    mark m;
    m.name = ipc::parse_tuple(argv[options + 1]).first;
    m.parent = ipc::address::parse(argv[options + 3]);
    // tractor's own trees start theirs alike, but for where the parent is.
    const msg::uds_address* at = m.parent->as_uds();
    if (is_tractors && (!at || at->directory != ipc::runtime_directory())) return std::nullopt;
    return m;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

// --- is there a tree? ---

bool refuses(const sockaddr* to, socklen_t size) {
  const base::unique_fd s(::socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!s) return false;
  if (::connect(s.get(), to, size) == 0) return false;
  if (errno != EINPROGRESS) return errno == ECONNREFUSED;
  pollfd p{s.get(), POLLOUT, 0};
  if (::poll(&p, 1, static_cast<int>(connect_within.count())) != 1) return false;
  int error = 0;
  socklen_t length = sizeof error;
  return ::getsockopt(s.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == ECONNREFUSED;
}

/// Certainly nobody: what cannot be asked counts as somebody.
bool nobody_is_at(const ipc::address& at) {
  if (const msg::uds_address* file = at.as_uds()) {
    return ipc::nobody_listens(file->directory + "/" + file->file);
  }
  const msg::tcp_address& host = *at.as_tcp();
  sockaddr_in four{};
  four.sin_family = AF_INET;
  four.sin_port = htons(host.port);
  if (::inet_pton(AF_INET, host.host.c_str(), &four.sin_addr) == 1)
    return refuses(reinterpret_cast<const sockaddr*>(&four), sizeof four);
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(host.port);
  if (::inet_pton(AF_INET6, host.host.c_str(), &six.sin6_addr) == 1)
    return refuses(reinterpret_cast<const sockaddr*>(&six), sizeof six);
  return false;  // A name: whoever it means now.
}

/// Why this child has no parent any more; empty: it may have.
std::string why_child(const mark& m, const base::process_stat& o) {
  if (const msg::uds_address* at = m.parent->as_uds()) {
    const pid_t parent = ipc::pid_in_name(at->file);
    if (parent == 0 || parent == o.parent || !nobody_is_at(*m.parent)) return {};
    return fmt::format("its parent, pid {}, is gone", parent);
  }
  if (has_coppice_in_it(o.parent) || !nobody_is_at(*m.parent)) return {};
  return fmt::format("its parent at {} is gone", m.parent->describe());
}

/// The same of a zygote or of what one forked.
std::string why_zygote(pid_t pid, const mark& m, const base::process_stat& o) {
  if (o.parent == m.owner || is_older(m.owner, pid)) return {};
  const auto above = mark_of(o.parent, arguments_of(o.parent));
  if (above && above->owner == m.owner) return {};  // A zygote's child: if so, it is below it.
  return fmt::format("its tree, whose root was pid {}, is gone", m.owner);
}

std::string shown(const std::vector<std::string>& argv) {
  std::string text;
  for (const auto& word : argv) text += (text.empty() ? "" : " ") + word;
  // It is shown on a terminal, and somebody else may have written it.
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  if (text.size() > shown_bytes_max) text = text.substr(0, shown_bytes_max) + "...";
  return text;
}

struct candidate {
  orphan found;
  base::process_stat from;
};

/// A process that was started as ours are; `why` is empty unless it is an orphan by itself.
std::optional<candidate> candidate_at(pid_t pid) {
  const auto argv = arguments_of(pid);
  if (!mark_of(pid, argv)) return std::nullopt;
  candidate c;
  c.found.pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!c.found.pidfd || !is_ours(pid) || !shares_our_pids(pid)) return std::nullopt;
  const auto again = arguments_of(pid);  // Of the process that the descriptor means.
  const auto m = mark_of(pid, again);
  const auto from = base::stat_of(pid);
  if (!m || !from) return std::nullopt;
  c.from = *from;
  c.found.pid = pid;
  c.found.parent = from->parent;
  c.found.name = m->name;
  c.found.shown = shown(again);
  c.found.why = m->parent ? why_child(*m, *from) : why_zygote(pid, *m, *from);
  if (has_ended(c.found.pidfd)) return std::nullopt;  // Else all of that was read of it.
  return c;
}

std::vector<pid_t> all_pids() {
  std::vector<pid_t> pids;
  std::error_code ignored;
  for (fs::directory_iterator it("/proc", ignored), end; !ignored && it != end;
       it.increment(ignored))
    if (const pid_t pid = pid_from(it->path().filename().string())) pids.push_back(pid);
  std::ranges::sort(pids);
  return pids;
}

}  // namespace

bool is_older(pid_t pid, pid_t than) {
  const auto one = base::stat_of(pid), other = base::stat_of(than);
  return one && other && !one->is_zombie && one->started_ticks <= other->started_ticks;
}

std::vector<orphan> find_orphans() {
  std::map<pid_t, candidate> seen;
  for (const pid_t pid : all_pids())
    if (pid != ::getpid())
      if (auto c = candidate_at(pid)) seen.emplace(pid, std::move(*c));
  for (bool found = true; found;) {  // A generation in each round.
    found = false;
    for (auto& [pid, c] : seen) {
      const auto above = seen.find(c.from.parent);
      if (!c.found.why.empty() || above == seen.end() || above->second.found.why.empty()) continue;
      c.found.why = fmt::format("its parent is the orphan {}", above->first);
      c.found.below = found = true;
    }
  }
  std::vector<orphan> orphans;
  for (auto& [pid, c] : seen)
    if (!c.found.why.empty()) orphans.push_back(std::move(c.found));
  return orphans;
}

namespace {

/// Until all have ended, or the bound.
void wait_for_ends(const std::vector<orphan>& them, duration bound) {
  const auto until = steady::now() + bound;
  for (;;) {
    std::vector<pollfd> open;
    for (const orphan& o : them)
      if (!has_ended(o.pidfd)) open.push_back({o.pidfd.get(), POLLIN, 0});
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - steady::now()).count();
    if (open.empty() || left <= 0) return;
    if (::poll(open.data(), open.size(), static_cast<int>(left)) < 0 && errno != EINTR) return;
  }
}

}  // namespace

std::vector<reaped> end_orphans(const std::vector<orphan>& them, const reap_bounds& bounds) {
  for (const orphan& o : them)
    if (!o.below) send_signal(o.pidfd.get(), SIGTERM);
  wait_for_ends(them, bounds.ask);
  std::vector<reaped> outcome(them.size(), reaped::asked);
  for (std::size_t i = 0; i < them.size(); ++i)
    if (!has_ended(them[i].pidfd) && send_signal(them[i].pidfd.get(), SIGKILL))
      outcome[i] = reaped::killed;
  wait_for_ends(them, bounds.kill);
  for (std::size_t i = 0; i < them.size(); ++i)
    if (!has_ended(them[i].pidfd)) outcome[i] = reaped::stays;
  return outcome;
}

}  // namespace coppice::spawn
