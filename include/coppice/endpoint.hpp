#pragma once
#include <string_view>
#include "coppice/task.hpp"
#include "coppice/payload.hpp"
namespace coppice {
class actor;
class exposed { public: std::string_view name() const; task<payload> invoke(actor&, payload) const; };
}
namespace coppice { template<class E> concept is_endpoint = requires(E e){ typename E::result_type; }; template<class E> concept is_kwargs_endpoint = requires { typename E::request_type; };
template<class... V> payload encode_kwargs(const V&...) { return {}; } }
