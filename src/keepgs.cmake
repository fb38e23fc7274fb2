# lib/x86_64-linux-gnu/keep-gs/libcr.so, for programs that set %gs (cr run --keep-gs): the same sources with another
# per-cpu register (arch/x86_64/percpu.h).
set(kept -DCR_KEEP_GS)
add_library(cr_below_keepgs OBJECT ${CR_BELOW} ${PROJECT_SOURCE_DIR}/arch/x86_64/keepgs.cc)
target_compile_options(cr_below_keepgs PRIVATE ${kept} ${CR_RUNTIME_FLAGS}
  $<$<COMPILE_LANGUAGE:CXX>:${CR_BELOW_FLAGS}>)
add_library(cr_above_keepgs OBJECT ${CR_ABOVE})
target_compile_options(cr_above_keepgs PRIVATE ${kept} ${CR_RUNTIME_FLAGS} -O2)
add_library(cr_wrappers_keepgs OBJECT ${CR_WRAPPERS_C})
target_compile_options(cr_wrappers_keepgs PRIVATE ${kept} ${CR_WRAPPERS_OPTIONS})
add_dependencies(cr_wrappers_keepgs cr_syscalls_generated)
foreach(part cr_below_keepgs cr_above_keepgs cr_wrappers_keepgs)
  target_include_directories(${part} PRIVATE
    ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/syscalls ${CR_GENERATED_DIR})
  target_link_libraries(${part} PRIVATE cr_syscalls cr_warnings)
endforeach()

set(below ${CMAKE_CURRENT_BINARY_DIR}/below-keepgs.o)
add_custom_command(OUTPUT ${below}
  COMMAND ${CMAKE_CXX_COMPILER} -r -nostdlib -flinker-output=nolto-rel -g ${CR_RUNTIME_FLAGS}
          ${CR_BELOW_FLAGS} -fPIC -o ${below}.lto $<TARGET_OBJECTS:cr_below_keepgs>
  COMMAND ${CMAKE_LINKER} -r --force-group-allocation -T ${CMAKE_CURRENT_SOURCE_DIR}/libcr-text.ld
          -o ${below} ${below}.lto
  DEPENDS cr_below_keepgs $<TARGET_OBJECTS:cr_below_keepgs> ${CMAKE_CURRENT_SOURCE_DIR}/libcr-text.ld
  COMMAND_EXPAND_LISTS)
set_source_files_properties(${below} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)

add_library(cr_shared_keepgs SHARED ${below} $<TARGET_OBJECTS:cr_above_keepgs> $<TARGET_OBJECTS:cr_wrappers_keepgs>)
set_target_properties(cr_shared_keepgs PROPERTIES OUTPUT_NAME cr LINKER_LANGUAGE C
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/${CR_LIBDIR}/keep-gs)
add_dependencies(cr_shared_keepgs cr_map)
set_property(TARGET cr_shared_keepgs APPEND PROPERTY LINK_DEPENDS ${CR_MAP})
target_link_options(cr_shared_keepgs PRIVATE -nostartfiles -nodefaultlibs
  -Wl,--version-script=${CR_MAP} -Wl,-z,initfirst -Wl,-z,now -Wl,-z,relro
  -Wl,-z,noexecstack -Wl,--as-needed -Wl,--no-undefined -Wl,-Bsymbolic-functions)
target_link_libraries(cr_shared_keepgs PRIVATE c)

install(TARGETS cr_shared_keepgs LIBRARY DESTINATION ${CR_LIBDIR}/keep-gs)
