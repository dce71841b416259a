// SPDX-License-Identifier: Apache-2.0
#include "ipc/tls.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>
#include <string>

#include "coppice/errors.hpp"
#include "ipc/tls_library.hpp"

namespace coppice::ipc {

namespace {

/// Beside the library or program that holds this function, or wherever the linker finds it.
std::string library_beside_us() {
  const std::string name = "libcoppice_tls.so";
  Dl_info me{};
  std::error_code ec;
  if (::dladdr(reinterpret_cast<const void*>(&load_tls), &me) == 0 || !me.dli_fname) return name;
  const auto beside = std::filesystem::canonical(me.dli_fname, ec).parent_path() / name;
  return std::filesystem::exists(beside, ec) ? beside.string() : name;
}

}  // namespace

tls_context_ptr load_tls(const tls_options& options) {
  const std::string path = options.library.empty() ? library_beside_us() : options.library;
  // Never closed: sessions are its code.
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* symbol = library ? ::dlsym(library, make_tls_symbol) : nullptr;
  if (!symbol) {
    const char* why = ::dlerror();
    throw error(fmt::format("no TLS here: {}: {}", path, why ? why : "no reason given"));
  }
  std::string why;
  tls_context* made = reinterpret_cast<make_tls_function*>(symbol)(options, why);
  if (!made) throw error("no TLS with these options: " + why);
  return tls_context_ptr(made);
}

}  // namespace coppice::ipc
