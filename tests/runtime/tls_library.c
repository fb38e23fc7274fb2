/* Loaded by small_tls.c: BYTES of thread-local data that must lie at a fixed place. */
__thread int tls_value[BYTES / sizeof(int)] = {42};

int* tls_address(void) { return tls_value; }
