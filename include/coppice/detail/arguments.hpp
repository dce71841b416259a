// SPDX-License-Identifier: Apache-2.0
// Positional arguments to keyword arguments on the calling side, and back on the called one.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "coppice/detail/codec_fields.hpp"
#include "coppice/detail/endpoint_function.hpp"
#include "coppice/errors.hpp"
#include "coppice/message.hpp"

namespace coppice::detail {

// ---- calling side: an argument is encoded as the parameter's type ----

template <class Param, class Arg>
consteval bool argument_fits() {
  using arg = std::remove_cvref_t<Arg>;
  if constexpr (std::same_as<Param, arg>) {
    return true;
  } else if constexpr (is_optional<Param>) {
    if constexpr (is_optional<arg>) {
      return argument_fits<typename Param::value_type, typename arg::value_type>();
    } else {
      return std::same_as<arg, std::nullopt_t> || argument_fits<typename Param::value_type, Arg>();
    }
  } else if constexpr (std::same_as<Param, std::string>) {
    return std::convertible_to<Arg, std::string_view>;
  } else if constexpr (std::same_as<Param, bool>) {
    return false;  // Nothing but a bool: an int or a pointer for a flag is a mistake.
  } else if constexpr (wire_integer<Param>) {
    return wire_integer<arg>;  // No float, bool or char for a number; its range is checked below.
  } else if constexpr (std::floating_point<Param>) {
    return wire_integer<arg> || std::floating_point<arg>;
  } else {
    return std::convertible_to<Arg, Param>;
  }
}

[[noreturn]] void argument_out_of_range(std::string_view endpoint, std::string_view parameter,
                                        std::string number);

template <class Param, class Arg>
void encode_argument(msgpack::writer& w, std::string_view endpoint, std::string_view parameter,
                     Arg&& arg) {
  using type = std::remove_cvref_t<Arg>;
  if constexpr (std::same_as<Param, type>) {
    codec<Param>::encode(w, arg);
  } else if constexpr (std::same_as<type, std::nullopt_t>) {
    w.nil();
  } else if constexpr (is_optional<Param>) {
    using inner = typename Param::value_type;
    if constexpr (!is_optional<type>) {
      encode_argument<inner>(w, endpoint, parameter, std::forward<Arg>(arg));
    } else if (arg) {
      encode_argument<inner>(w, endpoint, parameter, *std::forward<Arg>(arg));
    } else {
      w.nil();
    }
  } else if constexpr (std::same_as<Param, std::string>) {
    write_text(w, std::string_view(arg));
  } else if constexpr (wire_integer<Param>) {
    if (!std::in_range<Param>(arg)) {
      argument_out_of_range(endpoint, parameter, std::to_string(arg));
    }
    w.integer(arg);
  } else if constexpr (std::floating_point<Param>) {
    w.number(static_cast<double>(arg));
  } else {
    const Param converted = std::forward<Arg>(arg);
    codec<Param>::encode(w, converted);
  }
}

// ---- called side ----

[[noreturn]] void unknown_argument(std::string_view endpoint, std::string_view name);
[[noreturn]] void missing_argument(std::string_view endpoint, std::string_view name);
[[noreturn]] void repeated_argument(std::string_view endpoint, std::string_view name);
[[noreturn]] void bad_argument(std::string_view endpoint, std::string_view what);

/// The arguments in `kwargs`, one for each of `names`. Throws argument_error in Python's words.
template <class... Param>
std::tuple<Param...> decode_arguments(std::string_view endpoint,
                                      std::span<const std::string_view> names,
                                      const payload& kwargs) {
  std::tuple<std::optional<Param>...> found;
  try {
    msgpack::reader r(kwargs);
    const std::size_t count = r.map();
    msgpack::reader::inside here(r);
    std::size_t next = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::string_view name = r.raw_str();
      const std::size_t place = find_name(names, name, next);
      if (place == names.size()) unknown_argument(endpoint, name);
      here.field(names[place]);
      [&]<std::size_t... I>(std::index_sequence<I...>) {
        [[maybe_unused]] const auto decode = [&]<std::size_t N>() {
          auto& slot = std::get<N>(found);
          if (slot) repeated_argument(endpoint, name);
          slot.emplace(codec<std::tuple_element_t<N, std::tuple<Param...>>>::decode(r));
          return true;
        };
        (void)((I == place && decode.template operator()<I>()) || ...);
      }(std::index_sequence_for<Param...>());
      next = place + 1;
    }
    r.finish();
  } catch (const message_type_error& e) {
    bad_argument(endpoint, e.what());
  }
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    [[maybe_unused]] const auto take = [&]<class P>(std::optional<P>& slot, std::size_t i) -> P {
      if (slot) return *std::move(slot);
      if constexpr (is_optional<P>) {
        return std::nullopt;
      } else {
        missing_argument(endpoint, names[i]);
      }
    };
    return std::tuple<Param...>{take(std::get<I>(found), I)...};
  }(std::index_sequence_for<Param...>());
}

/// The fields of S from `kwargs`: missing ones keep their default, unknown ones are an error.
template <class S>
S decode_keywords(std::string_view endpoint, const payload& kwargs) {
  S to{};
  try {
    msgpack::reader r(kwargs);
    decode_fields(r, to, [&](std::string_view name) { unknown_argument(endpoint, name); });
    r.finish();
  } catch (const message_type_error& e) {
    bad_argument(endpoint, e.what());
  }
  return to;
}

}  // namespace coppice::detail
