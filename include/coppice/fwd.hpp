// SPDX-License-Identifier: Apache-2.0
// Names of the core, for headers that only mention them.
#pragma once

#include <cstdint>

namespace coppice {

template <class T = void>
class task;
template <class T = void>
class task_status;
template <class T>
class outcome;
template <class T>
class broadcast_channel;
template <class T>
class channel;
template <class T>
class receiver;
template <class T>
class sender;
class cancel_scope;
class cancelled;
class capacity_limiter;
class clock;
class condition;
class error;
class error_group;
class event;
class lock;
class nursery;
class semaphore;
enum class on_cancel : std::uint8_t;
struct to_thread_options;

}  // namespace coppice
