// SPDX-License-Identifier: Apache-2.0
// A call through a portal: encoded arguments in, decoded result out.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "coppice/errors.hpp"
#include "coppice/message.hpp"
#include "coppice/payload.hpp"
#include "coppice/stop.hpp"
#include "coppice/task.hpp"
#include "coppice/value.hpp"

namespace coppice::tree {
class native_actor;
}

namespace coppice::detail {

/// Which other actor, of those that `caller` knows: a child of it, or the actor at the other end of
/// any link of its (native_actor::name_peer). A slot is used again after it was given back; the
/// generation tells.
struct call_target {
  tree::native_actor* caller = nullptr;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
};

task<payload> raw_call(call_target t, std::string name, payload kwargs);
task<exit_report> cancel_target(call_target t);
uid target_id(call_target t);  // Empty if the slot is somebody else's by now.

template <class R>
R decode_result(payload bytes) {
  if constexpr (std::is_void_v<R>) {
    (void)bytes;
  } else if constexpr (std::is_same_v<R, value>) {
    return value(std::move(bytes));
  } else {
    return from_payload<R>(bytes);
  }
}

template <class R>
task<R> typed_call(call_target t, std::string name, payload kwargs) {
  payload result = co_await raw_call(t, std::move(name), std::move(kwargs));
  co_return decode_result<R>(std::move(result));
}

}  // namespace coppice::detail
