// SPDX-License-Identifier: Apache-2.0
// How to start an actor: the backend's key and the options.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "coppice/stop.hpp"
#include "coppice/text.hpp"

namespace coppice {

/// Up to 16 borrowed names: `.enable_modules = {"feeds", "prices"}`.
class name_list {
 public:
  static constexpr std::size_t names_max = 16;

  constexpr name_list() = default;
  template <class... Names>
    requires(sizeof...(Names) > 0 && sizeof...(Names) <= names_max &&
             (std::convertible_to<const Names&, std::string_view> && ...) &&
             (!std::same_as<std::remove_cvref_t<Names>, name_list> && ...))
  constexpr name_list(const Names&... names)
      : names_{std::string_view(names)...}, size_(sizeof...(Names)) {}

  constexpr const std::string_view* begin() const noexcept { return names_.data(); }
  constexpr const std::string_view* end() const noexcept { return names_.data() + size_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr bool empty() const noexcept { return size_ == 0; }

 private:
  std::array<std::string_view, names_max> names_{};
  std::size_t size_ = 0;
};

enum class gil_mode : std::uint8_t {
  own,     // Truly parallel; C extensions must support it.
  shared,  // The main interpreter's: more extensions import, nothing runs in parallel with it.
};

enum class restart_type : std::uint8_t;  // In coppice/restart.hpp.

namespace spawn {

/// The name of a spawn backend. A class over text, not an enum: a new backend needs no edit here.
class key {
 public:
  constexpr explicit key(std::string_view text) : text_(text) {}
  constexpr std::string_view text() const noexcept { return text_; }
  friend constexpr bool operator==(key, key) = default;

 private:
  std::string_view text_;
};

inline constexpr key automatic{"auto"};   // What the program's default is: main_options::backend.
inline constexpr key thread{"thread"};    // A C++ actor on a thread of this process.
inline constexpr key process{"process"};  // A process of its own, in C++ or Python.
inline constexpr key forkserver{"forkserver"};    // A Python process, forked from a warm one.
inline constexpr key subint{"subint"};            // A Python sub-interpreter on a thread here.
inline constexpr key subint_fork{"subint_fork"};  // What a guest asks for instead of os.fork.
/// A sub-interpreter in a process that was forked from a warm one.
inline constexpr key subint_forkserver{"subint_forkserver"};

/// The key of that name, aliases included ("trio" is "process"). Throws backend_unavailable with
/// the names that there are. That a key is known does not say that this build and machine can serve
/// it: `coppice backends` does.
key parse(std::string_view name);

}  // namespace spawn

/// How an actor is started. Written `{.name = value}` at the call; every member borrows or is a
/// value.
struct actor_options {
  spawn::key backend = spawn::automatic;
  /// What others may call in it. Empty: a C++ actor exposes the endpoints that main() listed, a
  /// Python actor nothing. Names that main() lists are C++, all others Python modules.
  name_list enable_modules = {};
  gil_mode gil = gil_mode::own;
  stop_policy stop = {};
  duration start_within = std::chrono::seconds(10);  // To be up; and once more for its init().
  restart_type restart = {};  // Where its nursery restarts at all; transient.
  text cwd = {};              // Of a process; empty: ours.
  /// "uds", "tcp": a process reaches its parent by the first of these; none: by the runtime's.
  name_list enable_transports = {};
  /// An actor of tractor's in a process of its own: `<executable> -m tractor._child …`, where
  /// executable is the path of a Python that has tractor, or of what speaks its protocol. Empty: an
  /// actor of ours. Such a one needs half a second to end: `.stop = {.ask = 1500ms}`.
  text executable = {};
};
static_assert(std::is_trivially_destructible_v<actor_options>);

}  // namespace coppice
