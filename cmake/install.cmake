# SPDX-License-Identifier: BSD-3-Clause
# Installed: the command, the shim and the engine beside it, the library with its CMake package and pkg-config file,
# machine files. Everything finds everything relative to itself.
include(CMakePackageConfigHelpers)

install(TARGETS softiommu RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS softiommu_shim softiommu_engine LIBRARY DESTINATION lib/softiommu)
install(TARGETS softiommu_shared EXPORT softiommu LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/softiommu DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY machines/ DESTINATION ${CMAKE_INSTALL_DATADIR}/softiommu/machines)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/softiommu)
install(EXPORT softiommu NAMESPACE softiommu:: DESTINATION ${package_dir} FILE softiommu-targets.cmake)
configure_package_config_file(cmake/softiommu-config.cmake.in ${PROJECT_BINARY_DIR}/softiommu-config.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/softiommu-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/softiommu-config.cmake ${PROJECT_BINARY_DIR}/softiommu-config-version.cmake
        DESTINATION ${package_dir})
configure_file(cmake/softiommu.pc.in ${PROJECT_BINARY_DIR}/softiommu.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/softiommu.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
