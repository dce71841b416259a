// SPDX-License-Identifier: Apache-2.0
#include "base/symbol.hpp"

#include <cxxabi.h>
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace coppice::base {

std::string demangled(const char* symbol) {
  int status = 0;
  char* name = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
  std::string text = name != nullptr ? name : symbol;
  std::free(name);
  return text;
}

namespace {

std::string hex(std::uintptr_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%zx", static_cast<std::size_t>(value));
  return text;
}

}  // namespace

std::string function_at(const void* address) {
  Dl_info info{};
  if (::dladdr(address, &info) == 0 || info.dli_sname == nullptr) return {};
  return demangled(info.dli_sname);
}

std::string place_at(const void* address) {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  Dl_info info{};
  if (::dladdr(address, &info) == 0 || info.dli_fname == nullptr) return hex(at);
  std::string_view file = info.dli_fname;
  file = file.substr(file.rfind('/') + 1);  // npos + 1 is 0.
  if (info.dli_sname == nullptr)
    return std::string(file) + "+" + hex(at - reinterpret_cast<std::uintptr_t>(info.dli_fbase));
  return demangled(info.dli_sname) + "+" +
         hex(at - reinterpret_cast<std::uintptr_t>(info.dli_saddr)) + " in " + std::string(file);
}

}  // namespace coppice::base
