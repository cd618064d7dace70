# A page of HTML, CSS and JavaScript as one constant of a program.
#
#   embed_page(TARGET NAME FOLDER scripts...)
#
# #include "examples/cifar_resnet/NAME.h" then gives the target the std::string_view cifar_resnet::embedded::NAME: page.html
# of the folder, with its style.css for @STYLE@ and page/common.js and the scripts, in this order, for @SCRIPT@.
function(embed_page target name folder)
  set(out ${PROJECT_BINARY_DIR}/embedded/examples/cifar_resnet/${name}.h)
  set(folder ${CMAKE_CURRENT_SOURCE_DIR}/${folder})
  list(TRANSFORM ARGN PREPEND ${folder}/ OUTPUT_VARIABLE scripts)
  list(PREPEND scripts ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/page/common.js)
  add_custom_command(OUTPUT ${out} VERBATIM
                     DEPENDS ${folder}/page.html ${folder}/style.css ${scripts} ${CMAKE_CURRENT_FUNCTION_LIST_FILE}
                     COMMAND ${CMAKE_COMMAND} -D OUT=${out} -D NAME=${name} -D FOLDER=${folder} -D "SCRIPTS=${scripts}"
                             -P ${CMAKE_CURRENT_FUNCTION_LIST_FILE})
  target_sources(${target} PRIVATE ${out})
  target_include_directories(${target} PRIVATE ${PROJECT_BINARY_DIR}/embedded)
endfunction()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)  # the command above
  file(READ ${FOLDER}/page.html page)
  file(READ ${FOLDER}/style.css style)
  foreach(file IN LISTS SCRIPTS)
    file(READ ${file} text)
    string(APPEND script "${text}")
  endforeach()
  string(REPLACE "@STYLE@" "${style}" page "${page}")
  string(REPLACE "@SCRIPT@" "${script}" page "${page}")
  file(WRITE ${OUT} "// Made by embed.cmake.\n#pragma once\n\n#include <string_view>\n\n"
                    "namespace cifar_resnet::embedded {\n"
                    "inline constexpr std::string_view ${NAME} = R\"embedded(${page})embedded\";\n}\n")
endif()
