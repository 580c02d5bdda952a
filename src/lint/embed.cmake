# SPDX-License-Identifier: BSD-3-Clause
# Makes a C++ file that holds INPUT as a string.
file(READ ${INPUT} text)
file(WRITE ${OUTPUT} "// Made from external_apis.toml.\nnamespace softiommu::lint {\nextern const char kExternalApis[];\nconst char kExternalApis[] = R\"toml(${text})toml\";\n}\n")
