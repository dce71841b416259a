# `ninja check_headers`: every header under include/ compiles alone, with the warnings of the build.
# Not part of `all`. Run by `make check`.
file(GLOB_RECURSE COPPICE_PUBLIC_HEADERS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/*.hpp)
add_library(coppice_headers INTERFACE)
target_sources(coppice_headers INTERFACE FILE_SET HEADERS
  BASE_DIRS ${PROJECT_SOURCE_DIR}/include FILES ${COPPICE_PUBLIC_HEADERS})
target_link_libraries(coppice_headers INTERFACE coppice_flags coppice_asio)  # Asio: asio.hpp only
set_target_properties(coppice_headers PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
set(CMAKE_VERIFY_INTERFACE_HEADER_SETS OFF)  # of coppice_headers alone, not of whoever links it
add_custom_target(check_headers DEPENDS all_verify_interface_header_sets)
