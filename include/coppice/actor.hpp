// SPDX-License-Identifier: Apache-2.0
// The actor that code runs in: a capability, passed by reference.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <typeindex>
#include <utility>
#include <vector>

#include "coppice/errors.hpp"

namespace coppice {

namespace tree {
class native_actor;
}

/// The actor whose loop this code runs on. Who may spawn actors takes `actor&`; there is no global
/// and no ambient one.
///
/// Owner: the runtime; valid for as long as the actor's code runs. Thread: the actor's loop.
class actor {
 public:
  actor(const actor&) = delete;
  actor& operator=(const actor&) = delete;

  std::string_view name() const noexcept;
  const uid& id() const noexcept;

  /// This actor's own T, made on first use and ended with the actor: state of endpoints that are
  /// member functions, or of free ones that want some.
  template <class T>
  T& local() {
    for (auto& [type, object] : locals_)
      if (type == std::type_index(typeid(T))) return *static_cast<T*>(object.get());
    locals_.emplace_back(std::type_index(typeid(T)), std::make_shared<T>());
    return *static_cast<T*>(locals_.back().second.get());
  }

  /// For the runtime's own headers.
  tree::native_actor& runtime() noexcept { return runtime_; }

 private:
  friend class tree::native_actor;
  explicit actor(tree::native_actor& runtime) : runtime_(runtime) {}

  tree::native_actor& runtime_;
  // shared_ptr<void>: the one owner that remembers how to destroy what it holds.
  std::vector<std::pair<std::type_index, std::shared_ptr<void>>> locals_;
};

}  // namespace coppice
