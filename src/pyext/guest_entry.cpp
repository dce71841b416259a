// SPDX-License-Identifier: Apache-2.0
#include "pyext/guest_entry.hpp"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "actor/backends.hpp"
#include "ipc/memory_link.hpp"
#include "pyext/guest_actor.hpp"
#include "pyhost/guest_side.hpp"

namespace coppice::py {

namespace {

class actor_body final : public guest_body, public call_fence {
 public:
  actor_body(std::shared_ptr<port::guest_port> port, const spawn::child_spec& spec,
             std::shared_ptr<std::string> failure, guest_entry_options options)
      : port_(std::move(port)),
        parent_(spec.parent),
        parent_sink_(spec.parent_sink),
        failure_(std::move(failure)),
        options_(std::move(options)) {}

  ~actor_body() override {
    if (options_.on_gone) options_.on_gone(port_);
  }

  // Everything that it uses is a member: a forced stop drops its frame.
  void run(guest_side& side) noexcept override {
    side_ = &side;
    guest_actor_options options;
    if (!options_.join) options.parent = uid{parent_.name, parent_.uuid};
    options.package_path = options_.package_path;
    actor_.emplace(port_, *this, std::move(options));
    if (!actor_->install()) {
      const auto info = actor_->errors().describe_pending();
      *failure_ = fmt::format("{}: {}", info.type, info.message);
      return;
    }
    if (options_.join) {
      options_.join(port_);
    } else {
      port_->set_parent(parent_.uuid);
      if (options_.on_here) options_.on_here(port_);
      ipc::connect_memory(port_->self(), port_, parent_, std::exchange(parent_sink_, nullptr));
    }
    actor_->serve();
    actor_->release();
    *failure_ = actor_->failure();
  }

  void wake() noexcept override { port_->nudge(); }

 private:
  void begin_call(std::uint64_t id) noexcept override { side_->begin_call(id); }
  void end_call(std::uint64_t id) noexcept override { side_->end_call(id); }
  bool stopping() const noexcept override { return side_->stopping(); }

  const std::shared_ptr<port::guest_port> port_;  // Shared: links and the supervisor deliver to it.
  const msg::aid parent_;
  std::shared_ptr<ipc::link_sink> parent_sink_;  // Until they are joined.
  const std::shared_ptr<std::string> failure_;   // Shared with who tells the supervisor.
  const guest_entry_options options_;
  guest_side* side_ = nullptr;
  std::optional<guest_actor> actor_;
};

}  // namespace

spawn::guest_entry make_guest_entry(guest_entry_options options) {
  return [options = std::move(options)](const spawn::child_spec& spec) {
    spawn::guest_start made;
    made.port = std::make_shared<port::guest_port>(
        tree::aid_of_guest({spec.self.name, spec.self.uuid}), options.calls);
    if (options.join) made.port->set_alone();
    made.failure = std::make_shared<std::string>();
    made.body = std::make_unique<actor_body>(made.port, spec, made.failure, options);
    return made;
  };
}

}  // namespace coppice::py
