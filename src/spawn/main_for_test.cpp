// SPDX-License-Identifier: Apache-2.0
// This program is its own child process: it then says how it was started, or waits to be killed.
#include <dirent.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>

#include "spawn/forkserver/zygote.hpp"

namespace {

std::string status_line(const std::string& name) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.rfind(name + ":", 0) == 0) return line;
  return name + ": missing";
}

void report(const char* path) {
  std::ofstream out(path);
  char cwd[4096] = {};
  out << "cwd " << ::getcwd(cwd, sizeof cwd) << "\n";
  int death = 0;
  ::prctl(PR_GET_PDEATHSIG, &death);
  out << "pdeathsig " << death << "\n";
  for (const char* name : {"SigBlk", "SigIgn", "SigCgt"}) out << status_line(name) << "\n";
  for (char** e = environ; *e; ++e) out << "env " << *e << "\n";
  out << "ppid " << ::getppid() << "\n";
}

// Without any library that opens files of its own.
void report_descriptors(const char* path) {
  bool open[1024] = {};
  for (int fd = 0; fd < 1024; ++fd) {
    char link[64];
    std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    open[fd] = ::access(link, F_OK) == 0;
  }
  std::ofstream out(path);
  for (int fd = 0; fd < 1024; ++fd)
    if (open[fd]) out << fd << " ";
}

/// As children and zygotes are executed, for who looks for orphans: says that it is up, and waits.
/// One whose actor is called deaf does so for SIGKILL; with --forks there are two of it.
bool is_like_a_child(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what != "--coppice-child" && what != "-P" && what != "-m") return false;
  for (int i = 2; i < argc; ++i)
    if (std::strstr(argv[i], "deaf")) ::signal(SIGTERM, SIG_IGN);
  if (std::strcmp(argv[argc - 1], "--as-nobody") == 0 && ::setuid(65534) != 0) ::_exit(1);
  if (std::strcmp(argv[argc - 1], "--forks") == 0 && ::fork() == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() == 1) ::_exit(0);
    for (;;) ::pause();
  }
  return true;
}

void wait_until_killed() {
  (void)!::write(STDOUT_FILENO, "u", 1);
  for (;;) ::pause();
}

/// Nothing: it is no child.
std::optional<int> do_as_told(const std::string& what, const char* argument) {
  if (what == "--report") return report(argument), 0;
  if (what == "--descriptors") return report_descriptors(argument), 0;
  if (what == "--exit") return std::atoi(argument);
  if (what == "--wait")
    for (;;) ::pause();
  if (what == "--deaf") {
    ::signal(SIGTERM, SIG_IGN);
    ::signal(SIGQUIT, SIG_IGN);
    for (;;) ::pause();
  }
  return std::nullopt;
}

// As a zygote whose children do what their actor's name says. What they order waits.
int serve(const std::string& mode) {
  using namespace coppice::spawn;
  if (mode == "refuse") return refuse_to_serve(3, "module x started a thread"), 1;
  auto child = serve_zygote(coppice::base::unique_fd(3));
  if (!child) return 0;
  const std::string name = child->order.uid.substr(2, child->order.uid.find('\'', 2) - 2);
  const auto space = name.find(' ');
  const std::string what = name.substr(0, space);
  const std::string argument = space == std::string::npos ? "" : name.substr(space + 1);
  if (what != "--order") return do_as_told(what, argument.c_str()).value_or(99);
  fork_order order;
  order.uid = "('--wait', 'u-2')";
  packet answer;
  (void)send_packet(child->zygote.get(), pack(order));
  pollfd answered{child->zygote.get(), POLLIN, 0};
  (void)::poll(&answered, 1, -1);
  (void)receive_packet(child->zygote.get(), answer);
  std::ofstream(argument) << answer_in(answer)->pid << std::endl;
  for (;;) ::pause();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (is_like_a_child(argc, argv)) wait_until_killed();
  if (what == "--zygote") return serve(argc > 2 ? argv[2] : "");
  if (const auto status = do_as_told(what, argc > 2 ? argv[2] : "")) return *status;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
