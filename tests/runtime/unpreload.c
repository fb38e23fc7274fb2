/* Static, so no preload comes along: runs a program without the runtime, whoever started it. */
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  unsetenv("LD_PRELOAD");
  execv(argv[1], argv + 1);
  return 127;
}
