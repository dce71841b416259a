// SPDX-License-Identifier: Apache-2.0
// The types of one dialog: what a struct says, and `value` for what it leaves out.
#pragma once

#include <type_traits>

#include "coppice/message.hpp"
#include "coppice/value.hpp"

namespace coppice {

/// A dialog of which no type is stated: all its payloads are `value`.
struct any_dialog {};

namespace detail {

template <class D>
struct started_of {
  using type = value;
};
template <class D>
  requires requires { typename D::started; }
struct started_of<D> {
  using type = typename D::started;
};
template <class D>
struct to_callee_of {
  using type = value;
};
template <class D>
  requires requires { typename D::to_callee; }
struct to_callee_of<D> {
  using type = typename D::to_callee;
};
template <class D>
struct to_caller_of {
  using type = value;
};
template <class D>
  requires requires { typename D::to_caller; }
struct to_caller_of<D> {
  using type = typename D::to_caller;
};

template <class D>
using started_t = typename started_of<D>::type;
template <class D>
using to_callee_t = typename to_callee_of<D>::type;
template <class D>
using to_caller_t = typename to_caller_of<D>::type;

template <class T>
constexpr bool fits_a_dialog = owned_message<T>;
template <>
inline constexpr bool fits_a_dialog<void> = true;

template <class D>
constexpr void check_dialog() {
  static_assert(fits_a_dialog<started_t<D>>,
                "`started` of this dialog cannot travel, or is a view: see coppice/message.hpp");
  static_assert(owned_message<to_callee_t<D>>,
                "`to_callee` of this dialog cannot travel, or is a view: see coppice/message.hpp");
  static_assert(owned_message<to_caller_t<D>>,
                "`to_caller` of this dialog cannot travel, or is a view: see coppice/message.hpp");
}

}  // namespace detail
}  // namespace coppice
