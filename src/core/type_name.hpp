// SPDX-License-Identifier: Apache-2.0
// The C++ type of an exception, for people.
#pragma once

#include <exception>
#include <string>
#include <typeinfo>

namespace coppice::core {

std::string class_name(const std::type_info& type);  // "coppice::timeout_error"

/// Of what it holds, whether that is a std::exception or not; null if it holds nothing.
const std::type_info* type_of(const std::exception_ptr& e) noexcept;

}  // namespace coppice::core
