# coppice_precompile(target from [further headers])
# With COPPICE_PRECOMPILE the library headers that most files include are read once, by the target
# `from`, whose flags have to be the same. Without it every file has to say what it includes: the
# preset `dev` proves that.
function(coppice_precompile target from)
  if(NOT COPPICE_PRECOMPILE)
    return()
  elseif(NOT target STREQUAL from)
    target_precompile_headers(${target} REUSE_FROM ${from})
    return()
  endif()
  target_precompile_headers(${target} PRIVATE <algorithm> <array> <atomic> <chrono> <coroutine>
    <cstddef> <cstdint> <cstring> <deque> <exception> <filesystem> <functional> <map> <memory>
    <mutex> <optional> <set> <span> <string> <string_view> <thread> <tuple> <type_traits> <utility>
    <variant> <vector> <fmt/format.h> ${ARGN})
endfunction()

# coppice_layer(NAME DEPS other layers LIBS third-party SOURCES files [HEADERS public headers])
#
# One folder under src/ is one layer is one static library, linked only against the layers it names.
# tools/tidy.py checks the #include lines against the same table.
function(coppice_layer name)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS;SOURCES" ${ARGN})
  # An object library too: src/lib makes one shared library of all of them.
  add_library(coppice_${name}_objects OBJECT ${ARG_SOURCES})
  target_include_directories(coppice_${name}_objects PUBLIC
    ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(coppice_${name}_objects PUBLIC coppice_flags ${ARG_LIBS})
  coppice_precompile(coppice_${name}_objects coppice_base_objects)
  add_library(coppice_${name} STATIC $<TARGET_OBJECTS:coppice_${name}_objects>)
  target_include_directories(coppice_${name} PUBLIC
    ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
  list(TRANSFORM ARG_DEPS PREPEND coppice_)
  target_link_libraries(coppice_${name} PUBLIC coppice_flags ${ARG_DEPS} ${ARG_LIBS})
endfunction()

add_custom_target(unit_tests)  # Each builds all tests with that label.
add_custom_target(conformance_tests)

# coppice_test(NAME DEPS layers or targets SOURCES files [LABEL unit|conformance|system])
# One GoogleTest program; every test in it is a ctest with a time limit.
function(coppice_test name)
  if(NOT COPPICE_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "DEPS;SOURCES" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 60)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(${name} PRIVATE coppice_flags ${ARG_DEPS} GTest::gtest GTest::gtest_main)
  # Twice as fast to build; the layers keep -O2. Not g++ 12: what it miscompiles, it does at -O2.
  target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:Clang>:-O0>)
  coppice_precompile(${name} base_test <gtest/gtest.h>)
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
  if(TARGET ${ARG_LABEL}_tests)
    add_dependencies(${ARG_LABEL}_tests ${name})
  endif()
endfunction()
