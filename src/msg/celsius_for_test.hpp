// SPDX-License-Identifier: Apache-2.0
// A type with an invariant and so a codec of its own, for tests.
#pragma once

#include "coppice/message.hpp"

namespace coppice::test {

class celsius {
 public:
  explicit celsius(double degrees) : degrees_(degrees) {}
  double degrees() const { return degrees_; }

 private:
  double degrees_;
};

}  // namespace coppice::test

template <>
struct coppice::codec<coppice::test::celsius> {
  static void encode(msgpack::writer& w, const test::celsius& c) { w.number(c.degrees()); }
  static test::celsius decode(msgpack::reader& r) {
    const double degrees = r.number();
    if (degrees < -273.15) r.fail_with("colder than absolute zero");
    return test::celsius(degrees);
  }
};
