// SPDX-License-Identifier: Apache-2.0
// Names for addresses of code.
#pragma once

#include <string>

namespace coppice::base {

/// The function that `address` points into, demangled; empty if the dynamic symbols do not name it,
/// which is so for static functions, and in programs that were linked without -rdynamic. Takes the
/// loader's lock and looks through a whole symbol table: microseconds to a millisecond.
std::string function_at(const void* address);

/// As people write it: of a mangled symbol, or of std::type_info::name().
std::string demangled(const char* symbol);

/// "function+0x1f in libx.so", or "libx.so+0x1234" for addr2line, or the bare address.
std::string place_at(const void* address);

}  // namespace coppice::base
