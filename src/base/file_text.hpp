// SPDX-License-Identifier: Apache-2.0
// What a file says, for files that may go while they are read: those of /proc.
#pragma once

#include <string>

namespace coppice::base {

/// The whole of it; nothing if it cannot be opened or read to its end, as when the process that a
/// file of /proc tells of has ended meanwhile (read(2) then says ESRCH, which the buffer of a
/// std::ifstream throws as an exception). Blocks for as long as read(2) does.
std::string file_text(const std::string& path);

}  // namespace coppice::base
