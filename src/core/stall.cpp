// SPDX-License-Identifier: Apache-2.0
#include "coppice/stall.hpp"

#include "core/text.hpp"

namespace coppice {

std::string stall_report::to_text() const {
  std::string text = "coppice: loop '" + loop + "' is stalled, for " + core::to_text(at_least) +
                     " so far, by " + (task.empty() ? "what has returned meanwhile" : task);
  if (left_out != 0) text += "; " + std::to_string(left_out) + " stalls before it were not told";
  text += "\n";
  for (const std::string& frame : stack) text += "    " + frame + "\n";
  return text;
}

}  // namespace coppice
