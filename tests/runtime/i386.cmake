# The same programs as 32-bit ones, under lib/i386-linux-gnu/libcr.so. What looks at registers by their
# x86_64 names (registers, trapsites) has no such form.
set(programs_i386 pthreads stacks cancel signals process sharedmem futexes sharedlocks setids timers c11threads
    cxxthreads sockets pipes polls descriptors file_sharing interrupts openfiles datagrams terminals transfers
    kernelwaits identity posix inheritance nptlcalls tracing floods)
set(engine_programs_i386 files children connects forks)
foreach(name IN LISTS programs_i386 engine_programs_i386)
  set(source ${name}.c)
  if(name STREQUAL "cxxthreads")
    set(source ${name}.cc)
  endif()
  add_executable(runtime_i386_${name} ${source})
  target_compile_options(runtime_i386_${name} PRIVATE -m32 -msse2 -mfpmath=sse -O1 -pthread -w
                         -fno-optimize-sibling-calls)
  target_link_options(runtime_i386_${name} PRIVATE -m32 -pthread)
  set_target_properties(runtime_i386_${name} PROPERTIES OUTPUT_NAME runtime_${name}
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/runtime/i386)
  set(arguments --cpus 1,2)
  if(name MATCHES "sharedlocks|sockets|pipes|polls|descriptors|file_sharing|timers|openfiles|transfers|posix|kernelwaits|identity")
    set(arguments --cpus 2)  # they take long
  elseif(name STREQUAL "interrupts")
    set(arguments --cpus 2 -k handler_ends)  # a minute and more, all of it
  elseif(name IN_LIST engine_programs_i386)
    set(arguments --cpus 2 --engines uring,epoll)
  endif()
  add_test(NAME i386_${name}
           COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/compare.py
                   $<TARGET_FILE:runtime_i386_${name}> ${arguments})
  set_tests_properties(i386_${name} PROPERTIES TIMEOUT 600
    ENVIRONMENT "CR_TEST_PRELOAD=${PROJECT_BINARY_DIR}/${CR_LIBDIR_I386}/libcr.so")
endforeach()
target_compile_features(runtime_i386_cxxthreads PRIVATE cxx_std_20)
target_compile_options(runtime_i386_cxxthreads PRIVATE -fnon-call-exceptions)
target_link_libraries(runtime_i386_cxxthreads PRIVATE ${CMAKE_DL_LIBS})
# A native process beside the one under libcr.
add_executable(runtime_i386_unpreload unpreload.c)
target_compile_options(runtime_i386_unpreload PRIVATE -m32)
target_link_options(runtime_i386_unpreload PRIVATE -m32 -static)
set_target_properties(runtime_i386_unpreload PROPERTIES OUTPUT_NAME runtime_unpreload
  RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/runtime/i386)
add_dependencies(runtime_i386_sharedlocks runtime_i386_unpreload)

# Programs of both classes that start each other.
add_executable(runtime_i386_class class.c)
target_compile_options(runtime_i386_class PRIVATE -m32)
target_link_options(runtime_i386_class PRIVATE -m32)
add_executable(runtime_class class.c)
set_target_properties(runtime_class runtime_i386_class PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/runtime)
# And what only 32-bit code does: registers, calls by either way, multiplexed calls, old signal frames; calls
# that wait, in forms of old and new.
foreach(name calls waits)
  add_executable(runtime_i386_${name} i386_${name}.c)
  target_compile_options(runtime_i386_${name} PRIVATE -m32 -msse2 -O1 -pthread -Wall -Wno-unused-result)
  target_link_options(runtime_i386_${name} PRIVATE -m32 -pthread)
  set_target_properties(runtime_i386_${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/runtime/i386)
  add_test(NAME i386_${name}
           COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/compare.py
                   $<TARGET_FILE:runtime_i386_${name}> --cpus 1,2)
  set_tests_properties(i386_${name} PROPERTIES TIMEOUT 120
    ENVIRONMENT "CR_TEST_PRELOAD=${PROJECT_BINARY_DIR}/${CR_LIBDIR_I386}/libcr.so")
endforeach()
add_test(NAME i386_mixed
         COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/mixed.py $<TARGET_FILE:cr>
                 $<TARGET_FILE:runtime_class> $<TARGET_FILE:runtime_i386_class>)
set_tests_properties(i386_mixed PROPERTIES TIMEOUT 120)
# What is said of a deadlock, through 32-bit frames; what is none is told in the same way by both.
add_executable(runtime_i386_deadlock deadlock.c)
target_compile_options(runtime_i386_deadlock PRIVATE -m32 -msse2 -O1 -pthread -w -fno-optimize-sibling-calls)
target_link_options(runtime_i386_deadlock PRIVATE -m32 -pthread)
set_target_properties(runtime_i386_deadlock PROPERTIES OUTPUT_NAME runtime_deadlock
  RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/runtime/i386)
add_test(NAME i386_deadlock
         COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/deadlock.py $<TARGET_FILE:cr>
                 $<TARGET_FILE:runtime_i386_deadlock> Deadlock.test_two_locks
                 Deadlock.test_a_crowd_at_one_place Deadlock.test_a_program_without_threads)
set_tests_properties(i386_deadlock PROPERTIES TIMEOUT 120
  ENVIRONMENT "CR_TEST_PRELOAD=${PROJECT_BINARY_DIR}/${CR_LIBDIR_I386}/libcr.so")
