// SPDX-License-Identifier: Apache-2.0
// What long-lived objects say of themselves, as an indented tree.
#pragma once

#include <string>
#include <string_view>

namespace coppice::base {

/// Collects lines of a tree. Every long-lived object has `describe(tree_writer&)`.
class tree_writer {
 public:
  /// Adds a line at the present depth.
  void line(std::string_view text);

  /// Everything written until the returned guard ends is one level deeper.
  class [[nodiscard]] level {
   public:
    explicit level(tree_writer& writer) : writer_(writer) { ++writer_.depth_; }
    level(const level&) = delete;
    ~level() { --writer_.depth_; }

   private:
    tree_writer& writer_;
  };
  level deeper() { return level(*this); }

  const std::string& text() const { return text_; }

 private:
  std::string text_;
  int depth_ = 0;
};

}  // namespace coppice::base
