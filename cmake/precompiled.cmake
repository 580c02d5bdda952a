# SPDX-License-Identifier: BSD-3-Clause
# softiommu_precompiled(TARGET FIRST HEADER...): the sources of TARGET begin with these headers, parsed once for all targets
# that name the same FIRST, which is the first of them. Their compile options are the same but for definitions. The options
# here are what ccache needs to keep files that use a precompiled header.
function(softiommu_precompiled target first)
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>
                         "$<$<CXX_COMPILER_ID:Clang>:SHELL:-Xclang -fno-pch-timestamp>")
  if(target STREQUAL first)
    target_precompile_headers(${target} PRIVATE ${ARGN})
  else()
    target_precompile_headers(${target} REUSE_FROM ${first})
  endif()
endfunction()
