// SPDX-License-Identifier: Apache-2.0
// Finding other actors by name, wherever they are, through a registrar.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "coppice/actor.hpp"
#include "coppice/portal.hpp"
#include "coppice/spawn.hpp"
#include "coppice/task.hpp"

namespace coppice {

/// Whom to ask. Every member borrows or is a value.
struct lookup_options {
  /// Other registrars than those of this tree, like "('127.0.0.1', 1616)" or
  /// "/ip4/127.0.0.1/tcp/1616".
  name_list registry_addrs = {};
};
static_assert(std::is_trivially_destructible_v<lookup_options>);

/// An actor that was found, and the connection to it; or nobody.
///
/// Promises: the connection is kept while this lives, and shared by all of this actor's; one that
/// nobody uses is closed. Calls to an actor that has ended throw transport_closed. Once this has
/// ended, its portal is stale.
///
///     found_actor doubler = co_await find_actor(self, "doubler");
///     if (doubler) co_await doubler->run(doubling::twice, 21);
///
/// Owner: a frame of the actor that found it. Thread: that actor's loop.
class found_actor {
 public:
  found_actor() noexcept = default;  // Nobody.
  found_actor(found_actor&& other) noexcept
      : lookup_(std::exchange(other.lookup_, 0)), target_(other.target_), portal_(other.portal_) {}
  found_actor& operator=(found_actor&& other) noexcept {
    std::swap(lookup_, other.lookup_);
    std::swap(target_, other.target_);
    std::swap(portal_, other.portal_);
    return *this;
  }
  ~found_actor();

  explicit operator bool() const noexcept { return lookup_ != 0; }
  const portal* operator->() const noexcept { return &portal_; }
  const portal& operator*() const noexcept { return portal_; }

 private:
  friend struct found_access;
  std::uint64_t lookup_ = 0;
  detail::call_target target_;
  portal portal_;
};

/// The actor with this name or uuid, or nobody. Of several with the name it is the one that was
/// registered last. It is connected: an entry that nobody answers to is deleted at the registrar,
/// and the next one tried. Bounded. Throws transport_closed if no registrar can be asked.
task<found_actor> find_actor(actor& self, std::string_view name, lookup_options options = {});

/// The same, but waits until there is one. How long is the caller's business: move_on_after(). A
/// cancelled wait is withdrawn at the registrar.
task<found_actor> wait_for_actor(actor& self, std::string_view name, lookup_options options = {});

/// Where the actor with this name listens, like "('127.0.0.1', 1616)"; empty: there is none. Nobody
/// is connected to.
task<std::vector<std::string>> query_actor(actor& self, std::string_view name,
                                           lookup_options options = {});

/// Everybody whom the registrar knows: "name.uuid", and where that actor listens.
task<std::map<std::string, std::vector<std::string>>> get_registry(actor& self,
                                                                   lookup_options options = {});

}  // namespace coppice
