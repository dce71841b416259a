// SPDX-License-Identifier: Apache-2.0
// What an actor meets by itself, as types; what others raised is in remote_error.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coppice/stop.hpp"

namespace coppice {

/// The base of every fault that Coppice reports. what() names the actor, the operation and the next
/// thing to try.
class error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// fail_after() ran out of time, or one of the bounds in `limits` passed. Python: TimeoutError.
class timeout_error : public error {
 public:
  using error::error;
};

/// A spawn key that this build or machine cannot serve: which, what is missing, what to do.
class backend_unavailable : public error {
 public:
  using error::error;
};

/// What was wrong with a payload, and the message that had it.
struct bad_message {
  std::string type;              // "Started", "Yield" or "Return".
  std::string expected;          // What its receiver declared: "int | None".
  std::string got;               // What came: "str".
  std::string cid;               // The dialog that it belongs to.
  std::vector<std::byte> bytes;  // The message, a msgpack map; empty if it was too large to keep.
  friend bool operator==(const bad_message&, const bad_message&) = default;
};

/// Larger messages are not kept by an error that travels.
inline constexpr std::size_t bad_message_bytes_max = 64u << 10;

/// A value that cannot travel, or bytes that are not what the receiver declared. In a context it
/// says which message it was.
class message_type_error : public error {
 public:
  using error::error;
  /// "Return: expected int, got str".
  explicit message_type_error(bad_message what);
  message_type_error(const std::string& sentence, bad_message what)
      : error(sentence), bad_(std::make_shared<const bad_message>(std::move(what))) {}

  /// Null if it is not about a message of a context.
  const bad_message* bad() const noexcept { return bad_.get(); }

 private:
  std::shared_ptr<const bad_message> bad_;
};

/// A frame, a queue or a depth beyond its limit; names the limit's option.
class limit_exceeded : public error {
 public:
  using error::error;
};

/// The peer broke the protocol: costs its connection, never the actor.
class protocol_error : public error {
 public:
  using error::error;
};

/// The connection to a peer is gone. Every call that waited on it gets this or a subclass.
class transport_closed : public error {
 public:
  using error::error;
};

/// The actor at the other end has ended; report() says how.
class actor_died : public transport_closed {
 public:
  actor_died(std::string_view name, exit_report report);
  const exit_report& report() const noexcept { return *report_; }

 private:
  std::shared_ptr<const exit_report> report_;  // Shared: exceptions must copy without throwing.
};

/// A value was sent into a channel whose receiving side will not take it any more, or something was
/// done with an end that was closed.
class channel_closed : public error {
 public:
  using error::error;
};

/// A subscriber of a broadcast_channel was too slow: missed() values were overwritten before it
/// took them. It goes on with the oldest that is kept.
class lagged : public error {
 public:
  lagged(const std::string& where, std::uint64_t missed)
      : error(where + ": " + std::to_string(missed) +
              " values were overwritten before it took them; take faster, or keep more"),
        missed_(missed) {}
  std::uint64_t missed() const noexcept { return missed_; }

 private:
  std::uint64_t missed_;
};

/// Something that a dialog does not do now or not at all: a second started(), a stream before it, a
/// context with oneself. Python: RuntimeError.
class out_of_order : public error {
 public:
  using error::error;
};

/// A lock, permit or token that the task has already, or that it gives back without having it.
class ownership_error : public error {
 public:
  using error::error;
};

/// An actor could not be started. report() has the end of a child that died before it connected.
class actor_start_error : public error {
 public:
  explicit actor_start_error(const std::string& what, exit_report report = {});
  const exit_report& report() const noexcept { return *report_; }

 private:
  std::shared_ptr<const exit_report> report_;
};

/// Actors of a nursery died more often than its restart_policy allows.
class restart_limit_exceeded : public error {
 public:
  restart_limit_exceeded(std::string_view actor, std::size_t restarts_max, duration within,
                         std::exception_ptr last_death);
  const std::string& actor() const noexcept { return *actor_; }  // Who died last.
  std::size_t restarts_max() const noexcept { return restarts_max_; }
  duration within() const noexcept { return within_; }
  /// What it died of: actor_died, or what kept it from starting again.
  const std::exception_ptr& last_death() const noexcept { return last_death_; }

 private:
  std::shared_ptr<const std::string> actor_;  // Shared: exceptions must copy without throwing.
  std::size_t restarts_max_;
  duration within_;
  std::exception_ptr last_death_;
};

/// The called module is not on the callee's list of enabled modules.
class module_not_exposed : public error {
 public:
  using error::error;
};

/// The module is exposed but has no function of that name. Python: AttributeError.
class no_such_function : public error {
 public:
  using error::error;
};

/// Arguments that do not fit the called function: a name that it does not have, one that is
/// missing, a value of another type. Python: TypeError.
class argument_error : public error {
 public:
  using error::error;
};

/// A cancelled call whose code did not stop within its bound. The actor stays.
class call_stuck : public error {
 public:
  using error::error;
};

}  // namespace coppice
