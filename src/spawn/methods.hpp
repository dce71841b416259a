// SPDX-License-Identifier: Apache-2.0
// The one list of ways to start an actor: what each is, can and needs, and how one is selected.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "coppice/spawn.hpp"

namespace coppice::spawn {

/// What an actor has to itself.
enum class isolation : std::uint8_t { own_thread, own_interpreter, own_process };
std::string_view name_of(isolation apart) noexcept;  // "own thread", …

/// A spawn method. There is a row for every key, whether this build has its backend or not.
struct method {
  std::string_view key;
  name_list aliases;               // tractor's names, and multiprocessing's.
  bool native;                     // Runs actors in C++.
  bool python;                     // Runs actors in Python.
  std::optional<isolation> apart;  // Nothing: as the one that it chooses.
  bool can_be_killed;              // Whatever the actor does.
  std::string_view needs;
  std::string_view text;  // One line for people.
};

/// Written by hand, in the order in which people are told.
std::span<const method> methods() noexcept;
/// By key or alias.
const method* find_method(std::string_view name) noexcept;
/// "thread, process (or trio, mp_spawn, spawn), forkserver …": for sentences.
std::string known_methods();

/// Who asked for a method: the later ones win.
enum class asked_by : std::uint8_t { argument, environment, command_line };
inline constexpr const char* method_variable = "COPPICE_SPAWN_METHOD";
/// "the argument", "COPPICE_SPAWN_METHOD", "the command line".
std::string_view name_of(asked_by who) noexcept;

/// What everybody asked for; empty: nothing.
struct wishes {
  std::string argument = {};
  std::string environment = {};
  std::string command_line = {};
};

/// How the actors are started that do not say it themselves.
struct selection {
  std::string_view key = "auto";  // Of a row of methods().
  std::string asked_as = {};      // The name as it was written.
  asked_by by = asked_by::argument;

  /// "spawn method 'process' (mp_spawn, from COPPICE_SPAWN_METHOD)".
  std::string describe() const;
};

/// The strongest of the wishes. What is overruled is not even looked at. Throws
/// backend_unavailable if there is no such method: who said it, and the names that there are.
selection select(const wishes& w);
/// What $COPPICE_SPAWN_METHOD says; empty if it is not set.
std::string method_in_environment();
/// The value of `--coppice-spawn-method KEY` or `--coppice-spawn-method=KEY` before any `--`; the
/// last one counts. Throws coppice::error if it has none.
std::string method_in_arguments(int argc, const char* const* argv);
/// Sets $COPPICE_SPAWN_METHOD if the command line has spoken, so that process children, which
/// inherit the environment, do as the root. REQUIRES: no other thread reads the environment.
void hand_on(const selection& s);

/// What an ImportError says of a module that loads in a main interpreter only: the way out.
inline constexpr std::string_view needs_main_words = "start the actor with start_method='process'";

/// Why `key`, which no backend serves, cannot be had, in a sentence. `served`: "thread, process".
std::string not_served(std::string_view key, const std::string& served);

}  // namespace coppice::spawn
