/* Says of which class it is and whether libcr runs it, then becomes the program that its arguments
 * name. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char** argv) {
  FILE* maps = fopen("/proc/self/maps", "r");
  char line[4352];
  int on_libcr = 0;
  while (maps != NULL && fgets(line, sizeof line, maps) != NULL) on_libcr |= strstr(line, "/libcr.so") != NULL;
  printf("%d %s\n", (int)sizeof(void*) * 8, on_libcr ? "libcr" : "native");
  fflush(stdout);
  if (argc > 1) execv(argv[1], argv + 1);
  return argc > 1;
}
