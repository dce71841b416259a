// SPDX-License-Identifier: Apache-2.0
#include <coppice/coppice.hpp>  // no coroutine in sight: an engine that calls Python
using namespace coppice;

int main() {
  runtime rt;
  auto physics =
      rt.start_actor("physics", {.backend = spawn::subint, .enable_modules = {"physics"}});
  double e = physics.run<double>("physics:energy", kw("mass", 2.0), kw("speed", 3.0));
  std::printf("%.1f\n", e);
}  // the destructor ends the interpreter
