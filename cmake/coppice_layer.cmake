# coppice_layer(NAME DEPS other layers LIBS third-party SOURCES files)
#
# One folder under src/ is one layer is one static library, linked only against the layers it names.
# tools/tidy.py holds both this and the #include lines against the table in tools/layers.py.
function(coppice_layer name)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS;SOURCES" ${ARGN})
  add_library(coppice_${name} STATIC ${ARG_SOURCES})
  target_include_directories(coppice_${name} PUBLIC
    ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
  list(TRANSFORM ARG_DEPS PREPEND coppice_)
  target_link_libraries(coppice_${name} PUBLIC coppice_flags ${ARG_DEPS} ${ARG_LIBS})
  # No static with a destructor: it would run while guests and helper threads may still be there.
  target_compile_options(coppice_${name} PRIVATE
    $<$<CXX_COMPILER_ID:Clang>:-Wexit-time-destructors>)
endfunction()

# coppice_program(NAME DEPS layers or targets SOURCES files)
#
# A program that people or `make` run: it lies at the top of the build folder.
function(coppice_program name)
  cmake_parse_arguments(ARG "" "" "DEPS;SOURCES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE coppice_flags ${ARG_DEPS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
endfunction()

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
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
endfunction()
