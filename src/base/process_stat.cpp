// SPDX-License-Identifier: Apache-2.0
#include "base/process_stat.hpp"

#include <time.h>
#include <unistd.h>

#include <sstream>
#include <string>

#include "base/file_text.hpp"

namespace coppice::base {

std::optional<process_stat> stat_of(pid_t pid) {
  const std::string stat = file_text("/proc/" + std::to_string(pid) + "/stat");
  const auto name_end = stat.rfind(')');  // A name may hold anything.
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(stat.substr(name_end + 1));
  process_stat found;
  std::string letter, skipped;
  fields >> letter >> found.parent;
  found.is_zombie = letter == "Z";
  constexpr int between = 17;  // Fields 5 to 21 of proc(5).
  for (int i = 0; i < between; ++i) fields >> skipped;
  fields >> found.started_ticks;
  if (!fields) return std::nullopt;
  return found;
}

std::chrono::system_clock::time_point started_at(const process_stat& of) {
  timespec up{};
  ::clock_gettime(CLOCK_BOOTTIME, &up);
  const auto since_boot = std::chrono::seconds(up.tv_sec) + std::chrono::nanoseconds(up.tv_nsec);
  const auto tick = std::chrono::nanoseconds(std::chrono::seconds(1)) / ::sysconf(_SC_CLK_TCK);
  const auto age = since_boot - tick * static_cast<std::int64_t>(of.started_ticks);
  return std::chrono::system_clock::now() -
         std::chrono::duration_cast<std::chrono::system_clock::duration>(age);
}

}  // namespace coppice::base
