// SPDX-License-Identifier: Apache-2.0
// Which registrar a new root joins, or whether it is one itself.
#pragma once

#include <vector>

#include "actor/network.hpp"
#include "coppice/task.hpp"

namespace coppice::tree {

struct election_options {
  duration probe_within = std::chrono::seconds(1);       // One attempt, handshake included.
  int probe_attempts = 3;                                // Of those that were not answered in time.
  duration probe_pause = std::chrono::milliseconds(50);  // Times the attempts so far.
  duration total = std::chrono::seconds(3);
};

struct election {
  std::vector<msg::wire_address> registrars;  // Empty: there is none, so the root becomes it.
};

/// Asks at every address at once who is there, by a handshake that says it is a probe.
///
/// Some are registrars: those are joined. Nobody anywhere: an empty list. Somebody who is no
/// registrar, or does not answer, and no registrar: throws coppice::error that names the address.
/// A tractor actor that does not say whether it is a registrar is one.
task<election> elect(network* net, msg::aid self, std::vector<msg::wire_address> at,
                     election_options options);

/// "127.0.0.1:1616", "/run/x/registry.sock": for people.
std::string describe(const msg::wire_address& at);
/// As users write it. Throws protocol_error that quotes it.
msg::wire_address parse_address(const std::string& text);

}  // namespace coppice::tree
