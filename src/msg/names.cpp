// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "coppice/errors.hpp"
#include "coppice/function_name.hpp"
#include "coppice/kw.hpp"

namespace coppice {

function_name function_name::parse(std::string_view text) {
  const function_name name(text);
  if (!name.is_valid()) {
    throw error("'" + std::string(text) +
                "' is not the name of a function: write module:function, as in "
                "\"primes:count_primes\"; dots only in the module, no Python keyword");
  }
  return name;
}

namespace detail {

void argument_twice(std::string_view name) {
  throw error("the argument '" + std::string(name) + "' is given twice in one call");
}

}  // namespace detail

}  // namespace coppice
