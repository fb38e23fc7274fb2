// A statically linked program, which no ld.so can preload anything into.
int main(void) { return 0; }
