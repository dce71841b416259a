// SPDX-License-Identifier: Apache-2.0
#include "actor/election.hpp"

#include <fmt/format.h>

#include <utility>

#include "coppice/errors.hpp"
#include "coppice/nursery.hpp"
#include "coppice/time.hpp"
#include "core/one_shot.hpp"
#include "ipc/address.hpp"

namespace coppice::tree {

namespace {

enum class who_is_there : std::uint8_t { nobody, somebody, a_registrar };
struct probe_result {
  who_is_there who = who_is_there::nobody;
  std::string why;  // It is taken for somebody.
};

/// A probe's link is closed by the peer, and nothing is said on it.
class no_sink final : public ipc::link_sink {
  void on_connected(const ipc::link_ptr&) override {}
  void on_message(const ipc::link_ptr&, msg::message&&, ipc::urgency) override {}
  void on_closed(const ipc::link_ptr&, const std::string&) override {}
};

struct handshake {
  std::exception_ptr error;
  ipc::link_ptr link;
};
using handshake_slot = core::one_shot<handshake>;

task<handshake> shake_hands(network* net, msg::wire_address to, msg::aid self, duration within) {
  // Shared: a probe that is given up may still be told.
  const auto slot = std::make_shared<handshake_slot>("the answer to a probe");
  net->connect(to, self, std::make_shared<no_sink>(), within,
               [slot](std::exception_ptr e, ipc::link_ptr l) {
                 slot->set(handshake{std::move(e), std::move(l)});
               });
  handshake h = co_await slot->wait();
  co_return h;
}

/// Nobody listens; anything else is somebody. Timeouts are worth another attempt.
bool is_timeout(const std::exception_ptr& e) {
  try {
    std::rethrow_exception(e);
  } catch (const timeout_error&) {
    return true;
  } catch (...) {
    return false;
  }
}
bool is_absent(const std::exception_ptr& e) {
  try {
    std::rethrow_exception(e);
  } catch (const transport_closed&) {
    return true;
  } catch (...) {
    return false;
  }
}

task<> probe(network* net, msg::wire_address at, msg::aid self, election_options options,
             probe_result* out) {
  *out = {who_is_there::somebody, "it did not answer in time"};
  for (int attempt = 1; attempt <= options.probe_attempts; ++attempt) {
    handshake h = co_await shake_hands(net, at, self, options.probe_within);
    if (h.link) {
      const bool yes = h.link->peer().is_registrar.value_or(true);
      *out = {yes ? who_is_there::a_registrar : who_is_there::somebody,
              fmt::format("actor '{}' listens there, which is no registrar", h.link->peer().name)};
      h.link->close("a probe has its answer");
      co_return;
    }
    if (is_absent(h.error)) {
      *out = {};
      co_return;
    }
    if (!is_timeout(h.error)) {
      out->why = describe_exception(h.error);
      co_return;
    }
    co_await sleep_for(options.probe_pause * attempt);
  }
}

}  // namespace

std::string describe(const msg::wire_address& at) { return ipc::address(at).describe(); }

msg::wire_address parse_address(const std::string& text) {
  return ipc::address::parse(text).wire();
}

task<election> elect(network* net, msg::aid self, std::vector<msg::wire_address> at,
                     election_options options) {
  self.is_probe = true;
  std::vector<probe_result> found(at.size());
  auto ask_all = [&](nursery& n) -> task<> {
    for (std::size_t i = 0; i < at.size(); ++i)
      n.start_soon("probe of " + describe(at[i]), probe, net, at[i], self, options, &found[i]);
    co_return;
  };
  auto asking = [&]() -> task<> { co_await open_nursery("election", ask_all); };
  co_await move_on_after(options.total, asking());
  election result;
  for (std::size_t i = 0; i < at.size(); ++i)
    if (found[i].who == who_is_there::a_registrar) result.registrars.push_back(at[i]);
  if (!result.registrars.empty()) co_return result;
  for (std::size_t i = 0; i < at.size(); ++i)
    if (found[i].who == who_is_there::somebody)
      throw error(fmt::format("no registrar at {}, and none can be opened there: {}",
                              describe(at[i]), found[i].why));
  co_return result;
}

}  // namespace coppice::tree
