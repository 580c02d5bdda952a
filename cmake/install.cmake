# SPDX-License-Identifier: BSD-3-Clause
# Installed: the command, the shim and the engine beside it, the library with its CMake package and pkg-config file,
# machine files. Everything finds everything relative to itself.
include(CMakePackageConfigHelpers)

install(TARGETS softiommu RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS softiommu_shim softiommu_heap softiommu_engine softiommu_supervisor LIBRARY DESTINATION lib/softiommu
  RUNTIME DESTINATION lib/softiommu)
install(TARGETS softiommu_shared EXPORT softiommu LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/softiommu DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
# For drivers that come as plugins: the headers that our own drivers use.
install(TARGETS softiommu_plugin EXPORT softiommu-plugin)
install(DIRECTORY src/base src/hw src/pt src/machine src/core DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/softiommu/plugin
        FILES_MATCHING PATTERN "*.h")
install(FILES src/check/plugin_abi.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/softiommu/plugin/check)
install(FILES src/drivers/shared_table.h src/drivers/static_domain.h src/drivers/unit_wide.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/softiommu/plugin/drivers)
install(FILES tools/softiommu.gdb tools/softiommu.supp DESTINATION ${CMAKE_INSTALL_DATADIR}/softiommu)
install(DIRECTORY machines/ DESTINATION ${CMAKE_INSTALL_DATADIR}/softiommu/machines)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/softiommu)
install(EXPORT softiommu NAMESPACE softiommu:: DESTINATION ${package_dir} FILE softiommu-targets.cmake)
install(EXPORT softiommu-plugin NAMESPACE softiommu:: DESTINATION ${package_dir} FILE softiommu-plugin-targets.cmake)
configure_package_config_file(cmake/softiommu-config.cmake.in ${PROJECT_BINARY_DIR}/softiommu-config.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/softiommu-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/softiommu-config.cmake ${PROJECT_BINARY_DIR}/softiommu-config-version.cmake
        DESTINATION ${package_dir})
configure_file(cmake/softiommu.pc.in ${PROJECT_BINARY_DIR}/softiommu.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/softiommu.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
