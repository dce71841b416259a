// SPDX-License-Identifier: Apache-2.0
#include "actor/one_copy.hpp"

#include <fmt/format.h>
#include <link.h>

#include <string>
#include <string_view>
#include <vector>

#include "coppice/errors.hpp"

namespace coppice::tree {

namespace {
int collect(dl_phdr_info* loaded, std::size_t, void* paths) {
  const std::string_view path = loaded->dlpi_name;
  const std::string_view name = path.substr(path.rfind('/') + 1);
  if (name == "libcoppice.so" || name.starts_with("libcoppice.so."))
    static_cast<std::vector<std::string>*>(paths)->emplace_back(path);
  return 0;
}
}  // namespace

void refuse_second_copy() {
  std::vector<std::string> paths;
  ::dl_iterate_phdr(collect, &paths);
  if (paths.size() > 1)
    throw error(fmt::format(
        "this process has loaded two copies of libcoppice, {} and {}: everything in it has to use "
        "one; see which program or extension module brings the other (LD_DEBUG=files)",
        paths[0], paths[1]));
}

}  // namespace coppice::tree
