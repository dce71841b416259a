// SPDX-License-Identifier: Apache-2.0
#include "spawn/methods.hpp"

#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "coppice/errors.hpp"

namespace coppice::spawn {

namespace {

constexpr std::string_view a_python = "CPython 3.14.1 or later, not free-threaded";

constexpr std::array<method, 7> all_methods = {{
    {.key = thread.text(),
     .aliases = {},
     .native = true,
     .python = false,
     .apart = isolation::own_thread,
     .can_be_killed = false,
     .needs = "nothing",
     .text = "a C++ actor on a thread of this process"},
    {.key = process.text(),
     .aliases = {"trio", "mp_spawn", "spawn"},
     .native = true,
     .python = true,
     .apart = isolation::own_process,
     .can_be_killed = true,
     .needs =
         "for C++ actors a main() that reaches run_main(), for Python ones the package coppice",
     .text = "a process that is executed anew; runs every extension"},
    {.key = forkserver.text(),
     .aliases = {"mp_forkserver", "main_thread_forkserver"},
     .native = false,
     .python = true,
     .apart = isolation::own_process,
     .can_be_killed = true,
     .needs = "modules to preload that start no threads",
     .text = "a process forked from one that has the modules loaded already"},
    {.key = subint.text(),
     .aliases = {},
     .native = false,
     .python = true,
     .apart = isolation::own_interpreter,
     .can_be_killed = false,
     .needs = a_python,
     .text = "a sub-interpreter on a thread of this process, with its own GIL or a shared one"},
    {.key = subint_fork.text(),
     .aliases = {},
     .native = false,
     .python = true,
     .apart = isolation::own_process,
     .can_be_killed = true,
     .needs = a_python,
     .text = "a forked process that a sub-interpreter asked for: what os.fork() cannot do there"},
    {.key = subint_forkserver.text(),
     .aliases = {},
     .native = false,
     .python = true,
     .apart = isolation::own_process,
     .can_be_killed = true,
     .needs = a_python,
     .text = "a sub-interpreter in a forked process: forced inside, killed from outside"},
    {.key = automatic.text(),
     .aliases = {},
     .native = true,
     .python = true,
     .apart = std::nullopt,
     .can_be_killed = false,
     .needs = "what the one that it chooses needs",
     .text = "C++ actors by thread, Python actors by subint; the default"},
}};

constexpr const char* method_argument = "--coppice-spawn-method";

}  // namespace

std::string_view name_of(isolation apart) noexcept {
  switch (apart) {
    case isolation::own_thread:
      return "own thread";
    case isolation::own_interpreter:
      return "own interpreter";
    case isolation::own_process:
      return "own process";
  }
  return "";
}

std::string_view name_of(asked_by who) noexcept {
  switch (who) {
    case asked_by::argument:
      return "the argument";
    case asked_by::environment:
      return method_variable;
    case asked_by::command_line:
      return "the command line";
  }
  return "";
}

std::span<const method> methods() noexcept { return all_methods; }

const method* find_method(std::string_view name) noexcept {
  for (const method& m : all_methods)
    if (m.key == name || std::ranges::find(m.aliases, name) != m.aliases.end()) return &m;
  return nullptr;
}

std::string known_methods() {
  std::string text;
  for (const method& m : all_methods) {
    text += text.empty() ? "" : ", ";
    text += m.key;
    std::string others;
    for (std::string_view alias : m.aliases) {
      others += others.empty() ? " (or " : ", ";
      others += alias;
    }
    if (!others.empty()) text += others + ")";
  }
  return text;
}

std::string selection::describe() const {
  const std::string written = asked_as.empty() || asked_as == key ? "" : asked_as + ", ";
  return fmt::format("spawn method '{}' ({}from {})", key, written, name_of(by));
}

selection select(const wishes& w) {
  selection s;
  s.by = asked_by::argument;
  s.asked_as = w.argument;
  if (!w.environment.empty()) {
    s.by = asked_by::environment;
    s.asked_as = w.environment;
  }
  if (!w.command_line.empty()) {
    s.by = asked_by::command_line;
    s.asked_as = w.command_line;
  }
  if (s.asked_as.empty()) return s;
  const method* m = find_method(s.asked_as);
  if (!m)
    throw backend_unavailable(fmt::format("there is no spawn method '{}' (from {}): use one of {}",
                                          s.asked_as, name_of(s.by), known_methods()));
  s.key = m->key;
  return s;
}

std::string method_in_environment() {
  const char* text = ::getenv(method_variable);
  return text ? text : "";
}

std::string method_in_arguments(int argc, const char* const* argv) {
  std::string found;
  for (int i = 1; i < argc && std::strcmp(argv[i], "--") != 0; ++i) {
    std::string_view word = argv[i];
    if (!word.starts_with(method_argument)) continue;
    word.remove_prefix(std::strlen(method_argument));
    if (word.empty())
      found = i + 1 < argc ? argv[++i] : "";
    else if (word.starts_with('='))
      found = word.substr(1);
    else
      continue;  // Another argument, which begins alike.
    if (found.empty())
      throw error(fmt::format("{} needs one of {}", method_argument, known_methods()));
  }
  return found;
}

void hand_on(const selection& s) {
  if (s.by == asked_by::command_line) ::setenv(method_variable, s.asked_as.c_str(), 1);
}

std::string not_served(std::string_view key, const std::string& served) {
  return fmt::format("{}: this version of Coppice has no such backend yet; use one of {}", key,
                     served);
}

key parse(std::string_view name) {
  if (const method* m = find_method(name)) return key(m->key);
  throw backend_unavailable(
      fmt::format("there is no spawn backend '{}': there are {}", name, known_methods()));
}

}  // namespace coppice::spawn
