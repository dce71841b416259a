// SPDX-License-Identifier: Apache-2.0
#include "base/assert.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace coppice::base {

namespace {
std::atomic<assert_hook> hook{nullptr};
}  // namespace

void set_assert_hook(assert_hook h) noexcept { hook.store(h); }

void assert_failed(const char* expression, std::string_view what, const char* file,
                   int line) noexcept {
  std::fprintf(stderr, "coppice: %s:%d: %.*s [%s]\n", file, line, static_cast<int>(what.size()),
               what.data(), expression);
  // Taken out first: a hook that asserts itself must not come back here for ever.
  if (auto h = hook.exchange(nullptr)) h();
  std::fflush(stderr);
  std::abort();
}

}  // namespace coppice::base
