# libcr.so's version script: the wrappers under glibc's versions, the C ABI, nothing else.
file(READ "${IN}" wrappers)
file(WRITE "${OUT}" "${wrappers}
LIBCR_1 {
  global:
    lwkt_*; crit_enter; crit_exit; cr_init; cr_async_*; cr_shim_*; cr_syscall_*; syscall_port;
  local: *;
};
")
