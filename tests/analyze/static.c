// A static program with a usual share of libc: stdio, threads' start and exit code.
#include <stdio.h>

int main(void) { return puts("hello") < 0; }
