// SPDX-License-Identifier: Apache-2.0
// This process's one connection to a registrar, and what it asks there.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/unique_function.hpp"
#include "core/alarm.hpp"
#include "core/loop.hpp"
#include "port/call_table.hpp"

namespace coppice::tree {

/// Asks a registrar, for every actor of this process: connects when there is something to ask, and
/// closes when nobody has asked or held it open for `idle_within`. To a tractor registrar, for
/// which a connection means nothing, it connects for each question, as tractor's own actors do.
///
/// Promises: each ask() gets one reply, unless it is withdrawn: the registrar's, or `closed` with
/// why it could not be asked. A withdrawn one is cancelled at the registrar. Asks keep their order.
///
/// # Why not an actor's own port?
/// A native actor's is run by its loop, which its code may be keeping busy; starts and ends of
/// other actors are registered all the same.
///
/// Owner: discovery, shared with its link. Thread: the control loop's, but for the link_sink side.
class registrar_session final : public ipc::link_sink,
                                public std::enable_shared_from_this<registrar_session> {
 public:
  /// Joins a sink to the registrar: on_connected() there, or `failed`.
  using dial_function = std::function<void(std::shared_ptr<ipc::link_sink>,
                                           std::function<void(std::exception_ptr)> failed)>;
  /// Told whom they are for: a tractor registrar knows nothing of some.
  using arguments = base::unique_function<payload(const ipc::link&)>;
  using ticket = std::uint64_t;

  registrar_session(std::shared_ptr<core::loop> control, const uid& self, dial_function dial,
                    duration idle_within);

  ticket ask(std::string method, arguments kwargs, port::reply_handler on_reply);
  void withdraw(ticket t);
  /// Stays open until release(), as often.
  void hold() { ++holds_; }
  void release();
  /// Called at each connection, before anything is asked on it.
  void when_connected(std::function<void()> f) { when_connected_ = std::move(f); }
  /// What the registrar asks of us on this connection: to end.
  void when_cancelled(std::function<void(std::string)> f) { when_cancelled_ = std::move(f); }
  bool connected() const noexcept { return link_ != nullptr; }
  /// Is it a registrar of ours? False: not, or nobody has reached it yet.
  bool is_coppice() const noexcept { return is_coppice_; }
  /// Asks from now on are refused with `why`, and those under way end with it.
  void close(const std::string& why);

  void on_connected(const ipc::link_ptr& l) override;
  void on_message(const ipc::link_ptr& from, msg::message&& m, ipc::urgency u) override;
  void on_closed(const ipc::link_ptr& from, const std::string& why) override;

 private:
  struct question {
    std::string method;
    arguments kwargs;
    port::reply_handler on_reply;
    port::request_id sent_as = 0;
  };

  template <class F>
  void on_control(F f);
  void opened(const ipc::link_ptr& l);
  void lost(const ipc::link_ptr& l, const std::string& why);
  void dial();
  void send(ticket t);
  void answered(ticket t, port::reply&& r);
  void fail_all(const std::string& why);
  void apply(port::effects&& out);
  void look_if_idle();

  const std::shared_ptr<core::loop> control_;  // Shared: the link calls from other threads.
  const uid self_;
  const dial_function dial_;
  const duration idle_within_;
  port::call_table table_;
  ipc::link_ptr link_;
  bool dialing_ = false;
  bool is_coppice_ = false;
  std::string closed_;
  ticket last_ = 0;
  std::map<ticket, question> open_;
  int holds_ = 0;
  core::alarm idle_{*control_};
  std::function<void()> when_connected_;
  std::function<void(std::string)> when_cancelled_;
};

}  // namespace coppice::tree
