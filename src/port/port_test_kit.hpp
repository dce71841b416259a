// SPDX-License-Identifier: Apache-2.0
// What tests of ports share: a link that writes down what is sent, and messages in one line.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "ipc/link.hpp"

namespace coppice::port::test {

inline const uid me{"me", "uuid-of-me"};
inline uid uid_of(const std::string& name) { return {name, "uuid-of-" + name}; }

/// A link to nowhere. close() tells nobody: the test says when the end has come.
class fake_link final : public ipc::link {
 public:
  explicit fake_link(const std::string& name) {
    peer_.name = name;
    peer_.uuid = uid_of(name).uuid;
  }
  void peer_announces(std::string extension) {
    if (!peer_.extensions) peer_.extensions.emplace();
    peer_.extensions->ext.push_back(std::move(extension));
  }
  void set_peer_uuid(const std::string& uuid) { peer_.uuid = uuid; }
  void send(msg::message m, ipc::urgency u) override {
    std::lock_guard lock(mutex_);
    sent_.emplace_back(std::move(m), u);
  }
  void close(std::string why) override {
    std::lock_guard lock(mutex_);
    closed_.push_back(std::move(why));
  }
  bool is_local() const noexcept override { return true; }
  std::string describe() const override { return "fake to " + peer_.name; }

  std::vector<std::pair<msg::message, ipc::urgency>> take_sent() {
    std::lock_guard lock(mutex_);
    return std::exchange(sent_, {});
  }
  std::vector<std::string> closed() {
    std::lock_guard lock(mutex_);
    return closed_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::pair<msg::message, ipc::urgency>> sent_;
  std::vector<std::string> closed_;
};

inline std::shared_ptr<fake_link> link_to(const std::string& name) {
  return std::make_shared<fake_link>(name);
}

inline payload no_arguments() { return to_payload(std::map<std::string, std::string>()); }
inline payload arguments(const std::string& name, const std::string& value) {
  return to_payload(std::map<std::string, std::string>{{name, value}});
}
inline msg::start start_of(const std::string& from, const std::string& cid, const std::string& ns,
                           const std::string& func, payload kwargs = no_arguments()) {
  return {cid, ns, func, std::move(kwargs), uid_of(from)};
}
inline remote_error_info error_info(const std::string& type, const std::string& text) {
  remote_error_info e;
  e.type = e.source_type = type;
  e.message = text;
  e.source = me;
  e.path = {me};
  return e;
}

/// "Return c1", "Error c1 ValueError: boom", "Error None RuntimeError: x", "Start mod:f"…
inline std::string line(const msg::message& m) {
  std::string out(msg::type_name(m));
  if (const auto* s = std::get_if<msg::start>(&m)) return out + " " + s->ns + ":" + s->func;
  if (const auto* e = std::get_if<msg::boxed_error>(&m))
    return out + " " + e->cid.value_or("None") + " " + e->boxed_type_str + ": " +
           e->message.value_or("");
  if (const auto* cid = msg::cid_of(m)) out += " " + *cid;
  if (const auto* c = std::get_if<msg::credit>(&m)) out += " " + std::to_string(c->n);
  return out;
}

}  // namespace coppice::port::test
