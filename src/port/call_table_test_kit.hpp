// SPDX-License-Identifier: Apache-2.0
// A call table whose effects are taken apart into lines.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "port/call_table.hpp"
#include "port/port_test_kit.hpp"

namespace coppice::port::test {

using lines = std::vector<std::string>;
using link = std::shared_ptr<fake_link>;

// Messages in, effects out. Each step's effects are taken apart into lines.
class table_fixture : public testing::Test {
 protected:
  void connect(const link& l) {
    table.connected(l, out);
    settle();
  }
  void deliver(const link& l, msg::message m) {
    table.message(l, std::move(m), out);
    settle();
  }
  void lose(const link& l, const std::string& why = "gone") {
    table.closed(l, why, out);
    settle();
  }
  /// A call of ours whose end is noted in replies[name].
  request_id call(const link& to, const std::string& name, const std::string& ns = "mod") {
    const auto id = table.request(to, ns, name, no_arguments(), note(name), out);
    settle();
    return id;
  }
  reply_handler note(const std::string& name) {
    return [this, name](reply&& r) { replies[name].push_back(std::move(r)); };
  }
  /// The cid under which a call of ours was sent: the last Start of `func`.
  std::string cid_of(const std::string& func) const { return cids.at(func); }

  void settle() {
    for (auto& e : out.events) std::visit([this](auto& one) { note_event(one); }, e);
    for (auto& s : out.sends) {
      if (auto* m = std::get_if<msg::start>(&s.message)) cids[m->func] = m->cid;
      sent.push_back(s.to->peer().name + " < " + line(s.message) +
                     (s.urgency == ipc::urgency::lazy ? " (lazy)" : ""));
    }
    for (auto& c : out.closes) closes.push_back(c.link->peer().name + ": " + c.why);
    for (auto& n : out.notices) n();
    if (!out.sends.empty()) last = std::move(out.sends.back().message);
    out = {};
  }
  void note_event(call_started& e) {
    started.push_back(e.id);
    events.push_back("started " + e.ns + ":" + e.func + " by " + e.caller.name);
  }
  void note_event(call_cancelled& e) {
    events.push_back("cancelled " + std::to_string(index_of(e.id)) + " " + e.why);
  }
  void note_event(dialog_changed& e) {
    const char* what[] = {"first word", "readable", "writable", "failed"};
    events.push_back(what[static_cast<int>(e.what)]);
    if (e.what == dialog_changed::kind::failed) failures.push_back(std::move(e.error));
  }
  void note_event(reply_arrived& e) { events.push_back("reply " + std::to_string(e.id)); }
  void note_event(cancel_requested& e) {
    events.push_back((e.by_parent_loss ? "orphaned: " : "end: ") + e.why);
  }
  void note_event(spec_arrived&) { events.push_back("spec"); }
  void note_event(child_changed& e) { events.push_back("child " + e.uuid); }
  std::size_t index_of(call_id id) const {
    return static_cast<std::size_t>(std::ranges::find(started, id) - started.begin());
  }
  static lines take(lines& from) { return std::exchange(from, {}); }

  table_limits limits{.calls_per_peer_max = 3, .payload_bytes_max = 1000};
  call_table table{me, limits};
  effects out;
  lines events, sent, closes;
  std::vector<call_id> started;             // Served calls, in order.
  std::vector<remote_error_info> failures;  // Of dialogs that it serves.
  std::map<std::string, std::vector<reply>> replies;
  std::map<std::string, std::string> cids;
  msg::message last;
  link peer = link_to("peer"), other = link_to("other");
};

}  // namespace coppice::port::test
