# Text files as constants of a program. As a script (cmake -D OUT=.. -D FILES=.. -P embed.cmake) it writes the header.
#
#   embed_files(TARGET HEADER files...)   #include "examples/cifar_resnet/HEADER" then gives the target
#                                         cifar_resnet::embedded::live_js for a file live.js, a std::string_view
function(embed_files target header)
  set(out ${PROJECT_BINARY_DIR}/embedded/examples/cifar_resnet/${header})
  list(TRANSFORM ARGN PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  add_custom_command(OUTPUT ${out} DEPENDS ${ARGN} ${CMAKE_CURRENT_FUNCTION_LIST_FILE} VERBATIM
                     COMMAND ${CMAKE_COMMAND} -D OUT=${out} -D "FILES=${ARGN}" -P ${CMAKE_CURRENT_FUNCTION_LIST_FILE})
  target_sources(${target} PRIVATE ${out})
  target_include_directories(${target} PRIVATE ${PROJECT_BINARY_DIR}/embedded)
endfunction()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  set(text "// Made by embed.cmake.\n#pragma once\n\n#include <string_view>\n\nnamespace cifar_resnet::embedded {\n")
  foreach(file IN LISTS FILES)
    get_filename_component(name ${file} NAME)
    string(MAKE_C_IDENTIFIER ${name} name)
    file(READ ${file} content)
    string(APPEND text "inline constexpr std::string_view ${name} = R\"embedded(${content})embedded\";\n")
  endforeach()
  file(WRITE ${OUT} "${text}}  // namespace cifar_resnet::embedded\n")
endif()
