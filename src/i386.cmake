# lib/i386-linux-gnu/libcr.so and libcr.a: the same sources for 32-bit programs, compiled beside the others. What
# differs: arch/x86 for arch/x86_64, and its own generated tables and wrappers.
file(GLOB CR_BELOW_I386 CONFIGURE_DEPENDS
  lwkt/*.cc async/*.cc signal/*.cc sysport/*.cc mem/*.cc
  gate/object.cc gate/cache.cc gate/mapped.cc gate/buslock.cc gate/spawn.cc shim/chain.cc shim/report.cc
  ${PROJECT_SOURCE_DIR}/syscalls/*.cc
  ${PROJECT_SOURCE_DIR}/arch/*.cc
  ${PROJECT_SOURCE_DIR}/arch/x86/*.cc
  ${PROJECT_SOURCE_DIR}/arch/x86/*.S)

# In program headers and messages offsets have 64 bits; struct stat is the kernel's stat64 then.
set(CR_I386_FLAGS -m32 -msse2 -D_FILE_OFFSET_BITS=64 -Wno-int-to-pointer-cast)
set(CR_I386_INCLUDES ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/syscalls ${CR_GENERATED_DIR_I386})

add_library(cr_below_i386 OBJECT ${CR_BELOW_I386})
target_compile_options(cr_below_i386 PRIVATE ${CR_I386_FLAGS} ${CR_RUNTIME_FLAGS}
  $<$<COMPILE_LANGUAGE:CXX>:${CR_BELOW_FLAGS_I386}>)
add_library(cr_above_i386 OBJECT ${CR_ABOVE})
target_compile_options(cr_above_i386 PRIVATE ${CR_I386_FLAGS} ${CR_RUNTIME_FLAGS} -O2)
# Without the 64-bit offsets: its names are libc's own, of both widths.
add_library(cr_wrappers_i386 OBJECT ${CR_WRAPPERS_C_I386})
set_source_files_properties(${CR_WRAPPERS_C_I386} PROPERTIES GENERATED ON)
target_compile_options(cr_wrappers_i386 PRIVATE -m32 ${CR_WRAPPERS_OPTIONS})
foreach(part cr_below_i386 cr_above_i386 cr_wrappers_i386)
  target_include_directories(${part} PRIVATE ${CR_I386_INCLUDES})
  target_link_libraries(${part} PRIVATE cr_warnings)
  add_dependencies(${part} cr_syscalls_generated_i386)
endforeach()

# With the compiler's own functions for 64-bit division among libcr's text.
set(below ${CMAKE_CURRENT_BINARY_DIR}/below-i386.o)
add_custom_command(OUTPUT ${below}
  COMMAND ${CMAKE_CXX_COMPILER} -m32 -r -nostdlib -flinker-output=nolto-rel -g ${CR_RUNTIME_FLAGS}
          ${CR_BELOW_FLAGS_I386} -fPIC -o ${below}.lto $<TARGET_OBJECTS:cr_below_i386> -lgcc
  COMMAND ${CMAKE_LINKER} -m elf_i386 -r --force-group-allocation
          -T ${CMAKE_CURRENT_SOURCE_DIR}/libcr-text.ld -o ${below} ${below}.lto
  # The functions by which position-independent code finds itself: what is below keeps its own.
  COMMAND ${CMAKE_OBJCOPY} --wildcard --localize-symbol=__x86.get_pc_thunk.* ${below}
  DEPENDS cr_below_i386 $<TARGET_OBJECTS:cr_below_i386> ${CMAKE_CURRENT_SOURCE_DIR}/libcr-text.ld
  COMMAND_EXPAND_LISTS)
set_source_files_properties(${below} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)

set(map ${PROJECT_BINARY_DIR}/generated-i386/libcr.map)
add_custom_command(OUTPUT ${map}
  COMMAND ${CMAKE_COMMAND} -DIN=${CR_WRAPPERS_MAP_I386} -DOUT=${map}
          -P ${CMAKE_CURRENT_SOURCE_DIR}/libcr-map.cmake
  DEPENDS cr_syscalls_generated_i386 ${CMAKE_CURRENT_SOURCE_DIR}/libcr-map.cmake)
add_custom_target(cr_map_i386 DEPENDS ${map})

set(parts ${below} $<TARGET_OBJECTS:cr_above_i386> $<TARGET_OBJECTS:cr_wrappers_i386>)
add_library(cr_static_i386 STATIC ${parts})
set_target_properties(cr_static_i386 PROPERTIES OUTPUT_NAME cr LINKER_LANGUAGE C
  ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/${CR_LIBDIR_I386})

add_library(cr_shared_i386 SHARED ${parts})
set_target_properties(cr_shared_i386 PROPERTIES OUTPUT_NAME cr LINKER_LANGUAGE C
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/${CR_LIBDIR_I386})
add_dependencies(cr_shared_i386 cr_map_i386)
set_property(TARGET cr_shared_i386 APPEND PROPERTY LINK_DEPENDS ${map})
target_link_options(cr_shared_i386 PRIVATE -m32 -nostartfiles -nodefaultlibs
  -Wl,--version-script=${map} -Wl,-z,initfirst -Wl,-z,now -Wl,-z,relro
  -Wl,-z,noexecstack -Wl,--as-needed -Wl,--no-undefined -Wl,-Bsymbolic-functions -Wl,-z,text)
target_link_libraries(cr_shared_i386 PRIVATE c)

# ld.so's $LIB is lib32 in Debian's biarch glibc for amd64, lib/i386-linux-gnu in that of i386.
file(CREATE_LINK ${CR_LIBDIR_I386} ${PROJECT_BINARY_DIR}/lib32 SYMBOLIC)
# The per-cpu register of 32-bit programs is not %gs: cr run --keep-gs is nothing special for them.
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/${CR_LIBDIR_I386}/keep-gs)
file(CREATE_LINK ../libcr.so ${PROJECT_BINARY_DIR}/${CR_LIBDIR_I386}/keep-gs/libcr.so SYMBOLIC)

add_library(cr_shim_count_i386 SHARED shim/count.cc)
set_target_properties(cr_shim_count_i386 PROPERTIES OUTPUT_NAME cr-shim-count
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/${CR_LIBDIR_I386})
target_include_directories(cr_shim_count_i386 PRIVATE ${CR_I386_INCLUDES})
target_compile_options(cr_shim_count_i386 PRIVATE ${CR_I386_FLAGS} -O2 -mgeneral-regs-only -fno-exceptions -fno-rtti
  -fno-threadsafe-statics -fno-stack-protector)
target_link_options(cr_shim_count_i386 PRIVATE -m32 -nodefaultlibs)
target_link_libraries(cr_shim_count_i386 PRIVATE cr_warnings cr_shared_i386 c gcc)
add_dependencies(cr_shim_count_i386 cr_syscalls_generated_i386)

install(TARGETS cr_shared_i386 cr_static_i386 cr_shim_count_i386
  LIBRARY DESTINATION lib/i386-linux-gnu ARCHIVE DESTINATION lib/i386-linux-gnu)
install(FILES ${PROJECT_BINARY_DIR}/${CR_LIBDIR_I386}/keep-gs/libcr.so DESTINATION lib/i386-linux-gnu/keep-gs)
install(CODE "file(CREATE_LINK lib/i386-linux-gnu \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/lib32\" SYMBOLIC)")
