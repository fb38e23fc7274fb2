# The same programs as 32-bit ones, under lib/i386-linux-gnu/libcr.so.
set(programs_i386 ${programs})
try_compile(openmp_i386 ${CMAKE_CURRENT_BINARY_DIR}/openmp_i386 ${CMAKE_CURRENT_SOURCE_DIR}/openmp.c
  COMPILE_DEFINITIONS -m32 -fopenmp LINK_OPTIONS -m32 -fopenmp)
if(NOT openmp_i386)
  list(REMOVE_ITEM programs_i386 openmp)
endif()
foreach(name IN LISTS programs_i386 engine_programs)
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
  if(name MATCHES "sharedlocks|sockets|pipes|polls|descriptors|file_sharing|timers|openfiles|transfers|posix|kernelwaits|identity|jobcontrol")
    set(arguments --cpus 2)  # they take long
  elseif(name STREQUAL "interrupts")
    set(arguments --cpus 2 -k handler_ends)  # a minute and more, all of it
  elseif(name IN_LIST engine_programs)
    set(arguments --cpus 2 --engines uring,epoll,none)
  endif()
  add_test(NAME i386_${name}
           COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/compare.py
                   $<TARGET_FILE:runtime_i386_${name}> ${arguments})
  set_tests_properties(i386_${name} PROPERTIES TIMEOUT 600
    ENVIRONMENT "CR_TEST_PRELOAD=${PROJECT_BINARY_DIR}/${CR_LIBDIR_I386}/libcr.so")
endforeach()
target_sources(runtime_i386_trapsites PRIVATE trapsites_x.S)
target_link_libraries(runtime_i386_registers PRIVATE m)
if(openmp_i386)
  target_compile_options(runtime_i386_openmp PRIVATE -fopenmp)
  target_link_options(runtime_i386_openmp PRIVATE -fopenmp)
endif()
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

# All primitives at once; engines that are forbidden; cr run --small-tls.
function(cr_i386_program name) # NAME OPTION...
  add_executable(runtime_i386_${name} ${name}.c)
  target_compile_options(runtime_i386_${name} PRIVATE -m32 -msse2 -O1 -pthread -w)
  target_link_options(runtime_i386_${name} PRIVATE -m32 -pthread ${ARGN})
  set_target_properties(runtime_i386_${name} PROPERTIES OUTPUT_NAME runtime_${name}
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/runtime/i386)
endfunction()
cr_i386_program(stress)
add_test(NAME i386_stress
         COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/run_stress.py
                 $<TARGET_FILE:runtime_i386_stress> --seconds 15)
add_test(NAME i386_engine_choice
         COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/engine_choice.py
                 $<TARGET_FILE:runtime_i386_files>)
set_tests_properties(i386_stress i386_engine_choice PROPERTIES TIMEOUT 600
  ENVIRONMENT "CR_TEST_PRELOAD=${PROJECT_BINARY_DIR}/${CR_LIBDIR_I386}/libcr.so")
cr_i386_program(small_tls -Wl,-z,now)
target_link_libraries(runtime_i386_small_tls PRIVATE ${CMAKE_DL_LIBS})
foreach(bytes 64 1024)
  add_library(runtime_i386_tls_${bytes} MODULE tls_library.c)
  target_compile_definitions(runtime_i386_tls_${bytes} PRIVATE BYTES=${bytes})
  target_compile_options(runtime_i386_tls_${bytes} PRIVATE -m32 -ftls-model=initial-exec)
  target_link_options(runtime_i386_tls_${bytes} PRIVATE -m32)
  set_target_properties(runtime_i386_tls_${bytes} PROPERTIES
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/runtime/i386)
endforeach()
add_test(NAME i386_small_tls
         COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/small_tls.py $<TARGET_FILE:cr>
                 $<TARGET_FILE:runtime_i386_small_tls> $<TARGET_FILE:runtime_i386_tls_64>
                 $<TARGET_FILE:runtime_i386_tls_1024>)
set_tests_properties(i386_small_tls PROPERTIES TIMEOUT 120)

# Programs of both classes that start each other.
add_executable(runtime_i386_class class.c)
target_compile_options(runtime_i386_class PRIVATE -m32)
target_link_options(runtime_i386_class PRIVATE -m32)
add_executable(runtime_class class.c)
set_target_properties(runtime_class runtime_i386_class PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/runtime)
add_executable(runtime_thread_beside thread_beside.c)
add_executable(runtime_i386_thread_beside thread_beside.c)
target_compile_options(runtime_i386_thread_beside PRIVATE -m32)
target_link_options(runtime_i386_thread_beside PRIVATE -m32 -pthread)
set_target_properties(runtime_thread_beside runtime_i386_thread_beside PROPERTIES
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
                 $<TARGET_FILE:runtime_class> $<TARGET_FILE:runtime_i386_class>
                 $<TARGET_FILE:runtime_thread_beside> $<TARGET_FILE:runtime_i386_thread_beside>)
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
