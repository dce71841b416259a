// SPDX-License-Identifier: Apache-2.0
#include "actor/find_python.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/fd.hpp"
#include "coppice/errors.hpp"

extern char** environ;

namespace coppice::py {
namespace fs = std::filesystem;
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::string_view ways_out =
    "; set $PYTHON or the option 'python' to a CPython >= 3.14.1 (not free-threaded, built with "
    "--enable-shared)";

// Asked with -I -S: no site, no environment, no folder of the user's on sys.path. One line per
// answer.
constexpr const char* question =
    "import sys, sysconfig as c\n"
    "v = c.get_config_var\n"
    "print(sys.implementation.name, *sys.version_info[:3], int(bool(v('Py_GIL_DISABLED'))))\n"
    "print(v('LIBDIR') or '')\n"
    "print((v('INSTSONAME') or v('LDLIBRARY') or '') if v('Py_ENABLE_SHARED') else '')\n"
    "print(sys.base_prefix)\n";

constexpr std::size_t answer_max = 16 * 1024;

struct answer {
  std::string text;
  std::string problem;  // Empty: it answered.
};

std::string exit_text(int status) {
  if (WIFSIGNALED(status))
    return std::string("was killed by signal ") + strsignal(WTERMSIG(status));
  return "exited with status " + std::to_string(WEXITSTATUS(status));
}

pid_t spawn_question(const std::string& executable, int out) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, out, 1);
  ::posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::string name = executable, isolated = "-I", no_site = "-S", command = "-c", text = question;
  char* argv[] = {name.data(),    isolated.data(), no_site.data(),
                  command.data(), text.data(),     nullptr};
  pid_t pid = -1;
  // tidy: allow library-home: no actor, one question before there is a runtime
  const int error = ::posix_spawn(&pid, executable.c_str(), &actions, &attributes, argv, environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  errno = error;
  return error == 0 ? pid : -1;
}

// Reads until end of file or the deadline. False: the deadline.
bool read_until(int fd, std::string& text, steady_clock::time_point until) {
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(until - steady_clock::now()).count();
    pollfd p{fd, POLLIN, 0};
    const int ready = left > 0 ? ::poll(&p, 1, static_cast<int>(left)) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return false;
    char buffer[1024];
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n <= 0) return true;
    text.append(buffer, static_cast<std::size_t>(n));
    if (text.size() > answer_max) return true;
  }
}

answer ask(const std::string& executable, milliseconds deadline) {
  answer a;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    a.problem = std::string("could not be run: ") + std::strerror(errno);
    return a;
  }
  const base::unique_fd in(ends[0]);
  base::unique_fd out(ends[1]);
  const auto until = steady_clock::now() + deadline;
  const pid_t pid = spawn_question(executable, out.get());
  out.reset();
  if (pid < 0) {
    a.problem = std::string("could not be run: ") + std::strerror(errno);
    return a;
  }
  const bool in_time = read_until(in.get(), a.text, until);
  // It has closed its output, or it is late. Either way it must be gone when we return: an answer
  // that is complete needs no clean exit, so a hanging one is killed as well.
  const base::unique_fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  pollfd p{pidfd.get(), POLLIN, 0};
  const auto left = std::chrono::duration_cast<milliseconds>(until - steady_clock::now()).count();
  if (!in_time || !pidfd || ::poll(&p, 1, left > 0 ? static_cast<int>(left) : 0) <= 0)
    ::kill(pid, SIGKILL);
  int status = 0;
  // tidy: allow library-home: the other half of that question
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!in_time) {
    a.problem = "did not answer within " + std::to_string(deadline.count()) + " ms";
  } else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    a.problem = exit_text(status);
  }
  return a;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

// The problem, or empty and `p` is filled in.
std::string describe(python_description& p, milliseconds deadline) {
  const answer a = ask(p.executable, deadline);
  if (!a.problem.empty()) return a.problem;
  const auto lines = lines_of(a.text);
  char name[32] = {};
  int free_threaded = 0;
  if (lines.size() < 4 || std::sscanf(lines[0].c_str(), "%31s %d %d %d %d", name, &p.major,
                                      &p.minor, &p.micro, &free_threaded) != 5) {
    return "is no Python: it does not answer like one";
  }
  if (std::string_view(name) != "cpython") return std::string("is ") + name + ", not CPython";
  p.free_threaded = free_threaded != 0;
  // Where it was installed to, or where it stands now, if it was moved.
  for (const fs::path& folder : {fs::path(lines[1]), fs::path(lines[3]) / "lib"}) {
    std::error_code ignored;
    if (!lines[2].empty() && fs::exists(folder / lines[2], ignored)) {
      p.libpython = (folder / lines[2]).string();
      break;
    }
  }
  return {};
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool is_executable(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0;
}

std::string on_path(const std::string& name) {
  if (name.find('/') != std::string::npos) return fs::absolute(name).string();
  const std::string path = environment("PATH");
  for (std::size_t at = 0; at <= path.size();) {
    const auto end = std::min(path.find(':', at), path.size());
    const fs::path candidate = fs::path(path.substr(at, end - at)) / name;
    if (end > at && is_executable(candidate)) return fs::absolute(candidate).string();
    at = end + 1;
  }
  return {};
}

// The python of the venv that `folder` belongs to: pyvenv.cfg in it or above, or in a `.venv`
// there.
std::string venv_python(fs::path folder) {
  std::error_code ignored;
  if (folder.empty()) folder = fs::current_path(ignored);
  for (folder = fs::absolute(folder, ignored);; folder = folder.parent_path()) {
    for (const fs::path& root : {folder, folder / ".venv"}) {
      if (fs::exists(root / "pyvenv.cfg", ignored) && is_executable(root / "bin/python")) {
        return (root / "bin/python").string();
      }
    }
    if (folder == folder.root_path() || folder.empty()) return {};
  }
}

struct candidate {
  std::string path, chosen_by;
};

// The one that was asked for; nothing if nobody asked.
std::optional<candidate> asked_for(const find_python_options& o) {
  if (!o.explicit_path.empty()) return candidate{o.explicit_path, "the option 'python'"};
  if (const auto p = environment("PYTHON"); !p.empty()) return candidate{p, "$PYTHON"};
  if (const auto p = environment("VIRTUAL_ENV"); !p.empty())
    return candidate{p + "/bin/python", "$VIRTUAL_ENV"};
  if (const auto p = venv_python(o.start_folder); !p.empty()) return candidate{p, "pyvenv.cfg"};
#ifdef COPPICE_DEFAULT_PYTHON
  if (is_executable(COPPICE_DEFAULT_PYTHON))
    return candidate{COPPICE_DEFAULT_PYTHON, "the build's default"};
#endif
  return std::nullopt;
}

python_description found(const candidate& c, milliseconds deadline) {
  python_description p;
  p.executable = on_path(c.path);
  p.chosen_by = c.chosen_by;
  const std::string who = "the Python chosen by " + c.chosen_by + " (" + c.path + ") ";
  if (p.executable.empty()) throw backend_unavailable(who + "is not there" + std::string(ways_out));
  if (const auto problem = describe(p, deadline); !problem.empty()) {
    throw backend_unavailable(who + problem + std::string(ways_out));
  }
  if (const auto why = refusal(p)) throw backend_unavailable(who + *why + std::string(ways_out));
  return p;
}

}  // namespace

std::string python_description::version() const {
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(micro);
}

std::optional<std::string> refusal(const python_description& p) {
  if (p.free_threaded) {
    return "is a free-threaded CPython " + p.version() +
           ", where a running interpreter cannot be stopped";
  }
  if (p.major != 3 || p.minor < 14 || (p.minor == 14 && p.micro < 1)) {
    return "is CPython " + p.version() + ", which aborts when an interpreter with threads ends";
  }
  if (p.minor > 15)
    return "is CPython " + p.version() + ", which this version of Coppice does not know";
  if (p.libpython.empty()) return "is a CPython " + p.version() + " without a shared library";
  return std::nullopt;
}

python_description find_python(const find_python_options& options) {
  if (const auto asked = asked_for(options)) return found(*asked, options.deadline);
  std::string tried;
  for (const char* name : {"python3.14", "python3.15", "python3"}) {
    const std::string path = on_path(name);
    if (path.empty()) continue;
    try {
      return found({path, "$PATH"}, options.deadline);
    } catch (const backend_unavailable& e) {
      if (tried.empty()) tried = e.what();
    }
  }
  if (!tried.empty()) throw backend_unavailable(tried);
  throw backend_unavailable(
      "no Python: neither $PYTHON nor $VIRTUAL_ENV is set, there is no pyvenv.cfg here, and "
      "no python3.14, python3.15 or python3 on $PATH" +
      std::string(ways_out));
}

}  // namespace coppice::py
