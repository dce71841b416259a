// SPDX-License-Identifier: Apache-2.0
// The recorded frames of a real tractor tree, for tests: see README.md beside this file.
#pragma once

#include <cstddef>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "coppice/payload.hpp"
#include "msg/messages.hpp"
#include "msg/test_bytes.hpp"

namespace coppice::msg {

struct golden_frame {
  int number = 0;
  payload all;          // With its length in front.
  std::string message;  // What Python's decoder read from it, as JSON.

  payload body() const { return all.slice(all.bytes().subspan(frame_header_bytes)); }
};

/// The text between `before` and the next `after`.
inline std::string_view between(std::string_view line, std::string_view before,
                                std::string_view after) {
  const std::size_t from = line.find(before);
  if (from == line.npos) throw std::runtime_error("no " + std::string(before));
  line.remove_prefix(from + before.size());
  return line.substr(0, line.rfind(after));
}

inline std::vector<golden_frame> golden_frames() {
  std::ifstream file(COPPICE_GOLDEN_FILE);
  std::vector<golden_frame> frames;
  for (std::string line; std::getline(file, line);) {
    const std::string_view tail = between(line, "\"frame\": \"", "}");
    frames.push_back({.number = static_cast<int>(frames.size()),
                      .all = unhex_payload(tail.substr(0, tail.find('"'))),
                      .message = std::string(between(line, "\"message\": ", "}"))});
  }
  return frames;
}

}  // namespace coppice::msg
