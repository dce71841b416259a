// SPDX-License-Identifier: Apache-2.0
// Everything, in reading order.
#pragma once

// Time, errors, tasks.
#include "coppice/clock.hpp"
#include "coppice/errors.hpp"
#include "coppice/task.hpp"

// Scopes and what runs in them.
#include "coppice/cancel_scope.hpp"
#include "coppice/handle_errors.hpp"
#include "coppice/nursery.hpp"
#include "coppice/outcome.hpp"
#include "coppice/time.hpp"

// What runs, and what keeps it from running.
#include "coppice/introspect.hpp"
#include "coppice/stall.hpp"

// What tasks of one loop meet at.
#include "coppice/broadcast_channel.hpp"
#include "coppice/capacity_limiter.hpp"
#include "coppice/channel.hpp"
#include "coppice/channel_ends.hpp"
#include "coppice/condition.hpp"
#include "coppice/event.hpp"
#include "coppice/lock.hpp"
#include "coppice/semaphore.hpp"

// Work on threads beside the loop.
#include "coppice/from_thread.hpp"
#include "coppice/to_thread.hpp"

// Messages, dialogs and endpoints.
#include "coppice/context.hpp"
#include "coppice/endpoint.hpp"
#include "coppice/exposed.hpp"
#include "coppice/generator.hpp"
#include "coppice/kw.hpp"
#include "coppice/message.hpp"
#include "coppice/shared_buffer.hpp"
#include "coppice/stream.hpp"
#include "coppice/value.hpp"

// Actors.
#include "coppice/actor.hpp"
#include "coppice/actor_nursery.hpp"
#include "coppice/discovery.hpp"
#include "coppice/guest_budget.hpp"
#include "coppice/one_shot_actor.hpp"
#include "coppice/pending.hpp"
#include "coppice/portal.hpp"
#include "coppice/restart.hpp"
#include "coppice/runtime.hpp"
#include "coppice/spawn.hpp"
#include "coppice/stop.hpp"
#include "coppice/transports.hpp"
#include "coppice/warm.hpp"

#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>
