# What `cmake --install` installs for projects that use the library: headers, libraries, a CMake package, transload.pc.
include(CMakePackageConfigHelpers)
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/transload)

set(libraries transload)
set(without PATTERN nn.h EXCLUDE)
if(TRANSLOAD_NN)
  list(APPEND libraries transload_nn)
  set(without "")
endif()
install(TARGETS ${libraries} EXPORT transload
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/transload DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} ${without})
install(EXPORT transload FILE transloadTargets.cmake NAMESPACE transload:: DESTINATION ${package_folder})

get_target_property(TRANSLOAD_LIBRARY_TYPE transload TYPE)
configure_package_config_file(cmake/transloadConfig.cmake.in transloadConfig.cmake INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(transloadConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/transloadConfig.cmake ${PROJECT_BINARY_DIR}/transloadConfigVersion.cmake
  DESTINATION ${package_folder})

# The .pc file finds its prefix from its own place: `cmake --install --prefix` may name another than CMake's.
file(RELATIVE_PATH TRANSLOAD_PC_TO_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
set(TRANSLOAD_PC_REQUIRES "")
set(TRANSLOAD_PC_LIBS "")
if(TRANSLOAD_LZMA_FOUND)
  string(APPEND TRANSLOAD_PC_REQUIRES " liblzma")
endif()
if(TRANSLOAD_ZSTD_FOUND)
  string(APPEND TRANSLOAD_PC_REQUIRES " libzstd")
endif()
if(BZip2_FOUND)  # Debian's libbz2-dev has no .pc file
  set(TRANSLOAD_PC_LIBS " -lbz2")
endif()
configure_file(cmake/transload.pc.in transload.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/transload.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
