// SPDX-License-Identifier: Apache-2.0
#include "actor/runtime_vars.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "base/assert.hpp"
#include "coppice/message.hpp"

namespace coppice::tree {

namespace {
using addresses = std::vector<msg::wire_address>;
using variable = std::pair<std::string, payload>;

std::vector<variable> variables_of(const payload& map) {
  std::vector<variable> out;
  msgpack::reader r(map);
  for (std::size_t left = r.map(); left > 0; --left) {
    std::string name(r.str());
    out.emplace_back(std::move(name), r.value());
  }
  return out;
}
}  // namespace

payload runtime_vars_for_child(const payload& own, const addresses& root,
                               const addresses& registrars, const ipc::address& parent) {
  COPPICE_ASSERT(!root.empty(), "a tree has a root, and that listens where it has children");
  std::vector<variable> all = variables_of(own);
  const auto add = [&all](std::string_view name, const auto& value) {
    if (std::ranges::find(all, name, &variable::first) == all.end())
      all.emplace_back(name, to_payload(value));
  };
  add("_is_root", false);
  add("_root_mailbox", root.front());
  add("_root_addrs", root);
  add("_enable_tpts", std::vector<std::string>{std::string(ipc::name_of(parent.kind()))});
  add("_registry_addrs", registrars);
  for (const char* flag :
       {"_debug_mode", "repl_fixture", "use_greenback", "use_stackscope", "_is_infected_aio"})
    add(flag, false);

  msgpack::buffer out;
  msgpack::writer w(out);
  w.map(all.size());
  for (const auto& [name, value] : all) {
    w.str(name);
    w.raw(value.bytes());
  }
  return payload::take(std::move(out));
}

}  // namespace coppice::tree
