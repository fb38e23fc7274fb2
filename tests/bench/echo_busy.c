// The server with a thread for each connection beside threads that compute and never wait: whether those are in the way of
// answers.
#define ECHO_COMPUTING 2
#include "echo_threads.c"
