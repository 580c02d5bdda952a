# SPDX-License-Identifier: BSD-3-Clause
# Lists every layout and register of src/hw/ as C++, for the test that prints them: run with -P, given HEADERS and OUTPUT.
set(includes "")
set(pages "")
foreach(header IN LISTS HEADERS)
  get_filename_component(page ${header} NAME_WE)
  # Lines without indentation tell it all: namespaces, functions, rows, and what ends the first two.
  file(STRINGS ${header} lines REGEX "^(namespace |}|inline |constexpr |consteval |template )")
  set(scopes "")
  set(in_function NO)
  set(rows "")
  foreach(line IN LISTS lines)
    if(line MATCHES "^namespace ([a-z0-9_:]+) {")
      list(APPEND scopes ${CMAKE_MATCH_1})
    elseif(line MATCHES "^}$" AND in_function)
      set(in_function NO)
    elseif(line MATCHES "^}(  // namespace.*)?$")
      list(POP_BACK scopes)
      set(in_function NO)
    elseif(line MATCHES "^inline constexpr (Layout|Register) (k[A-Za-z0-9_]+)")
      set(name ${CMAKE_MATCH_2})
      list(JOIN scopes "::" scope)
      string(APPEND rows "    text += row(${scope}::${name});\n")
    elseif(line MATCHES "^[^={]*\\(" AND NOT line MATCHES "[;}]$")
      set(in_function YES)
    endif()
  endforeach()
  if(rows)
    string(APPEND includes "#include \"hw/${page}.h\"\n")
    string(APPEND pages "  {\n    std::string text;\n${rows}    pages.push_back({\"${page}\", text});\n  }\n")
  endif()
endforeach()
file(WRITE ${OUTPUT} "// Made by cmake/hardware_pages.cmake.\n${includes}
namespace softiommu::hw {
template <class Row>
std::vector<HardwarePage> hardware_pages(Row&& row) {
  std::vector<HardwarePage> pages;
${pages}  return pages;
}
}  // namespace softiommu::hw\n")
