// SPDX-License-Identifier: Apache-2.0
// The `subint` backend: a Python actor in a sub-interpreter of this process, on a thread of its
// own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "port/guest_port.hpp"
#include "pyhost/guest_host.hpp"
#include "pyhost/guest_thread.hpp"
#include "spawn/backend.hpp"
#include "spawn/subint/guest_seat.hpp"

namespace coppice::spawn {

/// What a guest is made of.
struct guest_start {
  std::shared_ptr<port::guest_port> port;
  std::unique_ptr<py::guest_body> body;  // Joins the parent by memory link, then serves.
  /// Why it ended badly, "" if it did not. Written before the body returns, read when it has ended.
  std::shared_ptr<std::string> failure;
};
/// Given from above, so that this layer knows nothing of actors.
using guest_entry = std::function<guest_start(const child_spec&)>;

/// What a guest imports before it is an actor, and how: given from above, likewise.
struct warm_start {
  std::vector<std::string> modules;
  warm_up warm;
};
using warm_entry = std::function<warm_start(const stock_order&)>;

/// Ladder: all four rungs. "interrupt" raises coppice.Interrupted in the guest's thread, "force"
/// parks its threads and destroys its interpreter, and what cannot be had back is abandoned.
///
/// `host` is null where this process cannot host guests; `refusal` then says why.
///
/// It may keep a stock of warm guests (warm_stock.hpp), of which actors with an own GIL take one.
///
/// Owner: process_runtime. Thread: the control loop. REQUIRES at its end: every child has ended or
/// is in quarantine; `host` lives until then.
std::unique_ptr<backend> make_subint_backend(std::shared_ptr<py::guest_host> host,
                                             std::string refusal, guest_entry entry,
                                             warm_entry warm = {});

}  // namespace coppice::spawn
