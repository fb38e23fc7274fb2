// Stands in for libcr.so: says on standard error that it was loaded, and with what. If
// FAKE_PRELOAD_LINE is set that line goes to standard output, so that the program's output changes.
#include <stdio.h>
#include <stdlib.h>

__attribute__((constructor)) static void announce(void) {
  if (getenv("FAKE_PRELOAD_QUIET") == NULL) {
    fputs("fake libcr loaded\n", stderr);
  }
  const char* line = getenv("FAKE_PRELOAD_LINE");
  if (line != NULL) {
    puts(line);
    fflush(stdout);
  }
  const char* status = getenv("FAKE_PRELOAD_EXIT");
  if (status != NULL) {
    exit(atoi(status));
  }
  if (getenv("FAKE_PRELOAD_ABORT") != NULL) {
    abort();
  }
}
