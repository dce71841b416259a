// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <utility>

#include "actor/discovery.hpp"
#include "actor/native_actor.hpp"
#include "coppice/discovery.hpp"
#include "core/one_shot.hpp"
#include "ipc/address.hpp"

namespace coppice {

using tree::lookup;
using tree::lookup_result;

struct found_access {
  static found_actor make(std::uint64_t id, detail::call_target t) {
    found_actor made;
    made.lookup_ = id;
    made.target_ = t;
    made.portal_ = portal(t);
    return made;
  }
};

found_actor::~found_actor() {
  if (lookup_ == 0) return;
  auto& owner = *target_.caller;
  owner.release(target_);
  owner.runtime().lookups().release(lookup_);
}

namespace {

using slot = core::one_shot<lookup_result>;
using addresses = std::vector<msg::wire_address>;

lookup lookup_of(lookup::what what, std::string_view name, const lookup_options& options) {
  lookup wanted;
  wanted.wanted = what;
  wanted.name = name;
  for (std::string_view at : options.registry_addrs)
    wanted.registrars.push_back(tree::parse_address(std::string(at)));
  return wanted;
}

/// What it keeps open, its id does.
task<lookup_result> look_up(tree::native_actor* me, std::uint64_t id, lookup wanted) {
  // Shared: it is told also when nobody waits any more.
  const auto heard = std::make_shared<slot>("lookup of " + wanted.name);
  auto& lookups = me->runtime().lookups();
  lookups.start(id, me->shared_from_this(), std::move(wanted),
                [loop = me->own_loop()->ref(), heard](lookup_result&& r) {
                  loop.post([heard, r = std::move(r)]() mutable { heard->set(std::move(r)); });
                });
  auto waiting = detail::take(wait_for(heard.get()));
  auto how = co_await detail::captured<lookup_result>(std::move(waiting));
  if (how.error()) {
    lookups.release(id);
    std::rethrow_exception(how.error());
  }
  lookup_result r = std::move(how.value());
  if (r.error) std::rethrow_exception(r.error);
  co_return r;
}

task<found_actor> find(tree::native_actor* me, lookup wanted) {
  const auto id = me->runtime().lookups().new_id();
  lookup_result r = co_await look_up(me, id, std::move(wanted));
  if (r.links.empty()) co_return found_actor();
  co_return found_access::make(id, me->name_peer(r.links.front()));
}

std::vector<std::string> texts_of(const addresses& at) {
  std::vector<std::string> out;
  for (const auto& one : at) out.push_back(ipc::address(one).text());
  return out;
}

task<std::vector<std::string>> query(tree::native_actor* me, lookup wanted) {
  const auto id = me->runtime().lookups().new_id();
  lookup_result r = co_await look_up(me, id, std::move(wanted));
  if (r.raw.is_nil()) co_return std::vector<std::string>();
  const auto at = from_payload<addresses>(r.raw);  // Named: g++ 12 would destroy it twice.
  co_return texts_of(at);
}

task<std::map<std::string, std::vector<std::string>>> all_of(tree::native_actor* me,
                                                             lookup wanted) {
  const auto id = me->runtime().lookups().new_id();
  lookup_result r = co_await look_up(me, id, std::move(wanted));
  const auto all = from_payload<std::map<std::string, addresses>>(r.raw);
  std::map<std::string, std::vector<std::string>> out;
  for (const auto& [key, at] : all) out.emplace(key, texts_of(at));
  co_return out;
}

}  // namespace

task<found_actor> find_actor(actor& self, std::string_view name, lookup_options options) {
  return find(&self.runtime(), lookup_of(lookup::what::find, name, options));
}

task<found_actor> wait_for_actor(actor& self, std::string_view name, lookup_options options) {
  return find(&self.runtime(), lookup_of(lookup::what::wait, name, options));
}

task<std::vector<std::string>> query_actor(actor& self, std::string_view name,
                                           lookup_options options) {
  return query(&self.runtime(), lookup_of(lookup::what::query, name, options));
}

task<std::map<std::string, std::vector<std::string>>> get_registry(actor& self,
                                                                   lookup_options options) {
  return all_of(&self.runtime(), lookup_of(lookup::what::registry, {}, options));
}

}  // namespace coppice
