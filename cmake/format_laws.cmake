# SPDX-License-Identifier: BSD-3-Clause
# One test source for each page-table format: every name that a header in src/pt/formats/ asserts to be one, as in
# static_assert(PageTableFormat<ArmLpae>). A header without such a name is refused.
# per_format(OUT HEADERS FOLDER INCLUDE FUNCTION): the sources call FUNCTION<format>() of INCLUDE when a program starts.
function(per_format out headers folder include function)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${headers})
  foreach(header IN LISTS headers)
    file(READ ${header} text)
    string(REGEX MATCHALL "PageTableFormat<[A-Za-z0-9_]+>" names "${text}")
    if(NOT names)
      message(FATAL_ERROR "${header}: asserts of no type that it is a PageTableFormat")
    endif()
    list(REMOVE_DUPLICATES names)
    cmake_path(GET header FILENAME file)
    foreach(name IN LISTS names)
      string(REGEX REPLACE "PageTableFormat<(.*)>" "\\1" name "${name}")
      set(source ${CMAKE_CURRENT_BINARY_DIR}/${folder}/${name}.cpp)
      file(CONFIGURE OUTPUT ${source} CONTENT
"#include \"pt/formats/${file}\"

#include \"${include}\"

namespace softiommu::pt {
[[maybe_unused]] static const bool registered = ${function}<${name}>();
}
")
      list(APPEND sources ${source})
    endforeach()
  endforeach()
  set(${out} ${sources} PARENT_SCOPE)
endfunction()

function(format_laws out headers)
  per_format(sources "${headers}" pt_laws pt/format_laws.h register_laws)
  set(${out} ${sources} PARENT_SCOPE)
endfunction()
