// SPDX-License-Identifier: Apache-2.0
#include "base/describe.hpp"

namespace coppice::base {

void tree_writer::line(std::string_view text) {
  text_.append(static_cast<std::size_t>(depth_) * 2, ' ').append(text).push_back('\n');
}

}  // namespace coppice::base
