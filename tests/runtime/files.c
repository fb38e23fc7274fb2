// Reads and writes of regular files by many threads, most of them not in the page cache: what the
// engines carry out. Where a file system keeps everything in memory (tmpfs) the same holds, and less
// is tested.
#include "case.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

enum { BLOCK = 4096, BLOCKS = 512, THREADS = 8 };

// ---- what every case needs ---------------------------------------------------------------------

static int new_file(int flags) {
  char path[] = "/tmp/runtime_files.XXXXXX";
  int fd = mkostemp(path, flags);
  CHECK(fd >= 0);
  unlink(path);
  return fd;
}

static void fill(char* block, unsigned number) {
  for (unsigned i = 0; i < BLOCK; i++) block[i] = (char)(number * 31 + i * 7 + i / 256);
}

static int is_block(const char* block, unsigned number) {
  static _Thread_local char want[BLOCK];
  fill(want, number);
  return memcmp(block, want, BLOCK) == 0;
}

// Out of the page cache, and nothing read ahead.
static void drop(int fd) {
  CHECK(fsync(fd) == 0);
  posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int block_file(int flags) {
  int fd = new_file(flags);
  char block[BLOCK];
  for (unsigned i = 0; i < BLOCKS; i++) {
    fill(block, i);
    CHECK(write(fd, block, BLOCK) == BLOCK);
  }
  drop(fd);
  return fd;
}

static void run_threads(int n, void* (*body)(void*)) {
  pthread_t t[64];
  for (intptr_t i = 0; i < n; i++) CHECK(pthread_create(&t[i], NULL, body, (void*)i) == 0);
  for (int i = 0; i < n; i++) CHECK(pthread_join(t[i], NULL) == 0);
}

// Somebody else who runs all the while: the process is not alone, and calls may park.
static atomic_int company_leaves;
static pthread_t company_thread;
static void* keep_company(void* arg) {
  while (!atomic_load(&company_leaves)) {
    struct timespec ts = {0, 200000};
    nanosleep(&ts, NULL);
  }
  return arg;
}
static void company_comes(void) {
  atomic_store(&company_leaves, 0);
  CHECK(pthread_create(&company_thread, NULL, keep_company, NULL) == 0);
}
static void company_goes(void) {
  atomic_store(&company_leaves, 1);
  CHECK(pthread_join(company_thread, NULL) == 0);
}

static void show(const char* what, ssize_t r) {
  if (r < 0) {
    printf("%s: -1 %s\n", what, strerrorname_np(errno));
  } else {
    printf("%s: %zd\n", what, r);
  }
}

// ---- reading at a place ------------------------------------------------------------------------

static int file;
static atomic_int next_block;

static void* read_blocks(void* arg) {
  char block[BLOCK];
  for (;;) {
    int i = atomic_fetch_add(&next_block, 1);
    if (i >= BLOCKS) return arg;
    unsigned number = (unsigned)i * 97 % BLOCKS;
    CHECK(pread(file, block, BLOCK, (off_t)number * BLOCK) == BLOCK);
    CHECK(is_block(block, number));
  }
}

static void threads_read_what_is_not_cached(void) {
  file = block_file(0);
  for (int round = 0; round < 3; round++) {
    atomic_store(&next_block, 0);
    run_threads(THREADS, read_blocks);
    drop(file);
  }
  puts("ok");
}

static void* read_each_by_itself(void* arg) {
  char block[BLOCK];
  int own = block_file(0);
  for (unsigned i = 0; i < BLOCKS; i += 5) {
    CHECK(pread(own, block, BLOCK, (off_t)i * BLOCK) == BLOCK && is_block(block, i));
  }
  close(own);
  return arg;
}

static void sixty_threads_read_files_of_their_own(void) {
  run_threads(60, read_each_by_itself);
  puts("ok");
}

static void the_end_of_a_file_makes_a_read_short(void) {
  static char buffer[64 * 1024];
  company_comes();
  int fd = new_file(0);
  CHECK(pwrite(fd, buffer, 10000, 0) == 10000);
  for (int cached = 0; cached < 2; cached++) {
    if (!cached) drop(fd);
    show("all", pread(fd, buffer, sizeof buffer, 0));
    show("tail", pread(fd, buffer, 4096, 9000));
    show("at the end", pread(fd, buffer, 4096, 10000));
    show("behind it", pread(fd, buffer, 4096, 1000000));
    show("nothing", pread(fd, buffer, 0, 0));
    show("negative", pread(fd, buffer, 10, -5));
    show("huge", pread(fd, buffer, (size_t)1 << 40, 9990));
  }
  company_goes();
}

static void a_read_that_is_cached_in_part_is_whole(void) {
  static char buffer[64 * BLOCK];
  company_comes();
  file = block_file(0);
  for (int i = 0; i < 64; i++) {
    drop(file);
    CHECK(pread(file, buffer, BLOCK, (off_t)i * BLOCK) == BLOCK);
    CHECK(pread(file, buffer, sizeof buffer, 0) == sizeof buffer);
    for (unsigned b = 0; b < 64; b++) CHECK(is_block(buffer + b * BLOCK, b));
  }
  company_goes();
  puts("ok");
}

static void vectors_are_filled_in_order(void) {
  static char buffer[20 * BLOCK];
  company_comes();
  file = block_file(0);
  for (int n = 1; n <= 20; n += 3) {
    struct iovec iov[20];
    for (int i = 0; i < n; i++) iov[i] = (struct iovec){buffer + i * BLOCK, BLOCK};
    for (int cached = 0; cached < 2; cached++) {
      if (!cached) drop(file);
      memset(buffer, 0, sizeof buffer);
      CHECK(preadv(file, iov, n, 3 * BLOCK) == n * BLOCK);
      for (int i = 0; i < n; i++) CHECK(is_block(buffer + i * BLOCK, (unsigned)i + 3));
    }
  }
  struct iovec odd[3] = {{buffer, 0}, {buffer, 10}, {buffer + 10, BLOCK}};
  show("odd", preadv(file, odd, 3, (off_t)BLOCKS * BLOCK - 100));
  show("no vectors", preadv(file, odd, 0, 0));
  show("too many", preadv(file, odd, 5000, 0));
  odd[1].iov_len = (size_t)-1;
  show("negative length", preadv(file, odd, 3, 0));
  show("unknown flag", preadv2(file, odd, 1, 0, 0x8000));
  odd[1].iov_len = 10;
  drop(file);
  ssize_t r = preadv2(file, odd, 3, 0, RWF_NOWAIT);
  CHECK(r >= 0 || errno == EAGAIN || errno == EOPNOTSUPP);
  lseek(file, 0, SEEK_SET);
  show("at the file's position", preadv2(file, odd, 3, -1, 0));
  show("it moved", lseek(file, 0, SEEK_CUR));
  show("written", pwritev(file, odd, 3, 5));
  show("written at the position", pwritev2(file, odd, 3, -1, 0));
  show("it moved", lseek(file, 0, SEEK_CUR));
  company_goes();
}

static void the_nonblocking_flag_means_nothing_to_a_file(void) {
  company_comes();
  file = block_file(0);
  CHECK(fcntl(file, F_SETFL, O_NONBLOCK) == 0);
  char block[BLOCK];
  for (unsigned i = 0; i < BLOCKS; i++) {
    if (i % 8 == 0) drop(file);
    CHECK(pread(file, block, BLOCK, (off_t)i * BLOCK) == BLOCK && is_block(block, i));
  }
  company_goes();
  puts("ok");
}

static void descriptors_that_cannot_be_read_say_so(void) {
  company_comes();
  char buffer[16];
  int fds[2];
  CHECK(pipe(fds) == 0);
  show("pipe", pread(fds[0], buffer, 16, 0));
  show("pipe, writing", pwrite(fds[1], buffer, 16, 0));
  int dir = open("/", O_RDONLY | O_DIRECTORY);
  show("directory", pread(dir, buffer, 16, 0));
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", new_file(0));
  int w = open(path, O_WRONLY), r = open(path, O_RDONLY), p = open(path, O_PATH);
  show("write-only", pread(w, buffer, 16, 0));
  show("read-only", pwrite(r, buffer, 16, 0));
  show("path", pread(p, buffer, 16, 0));
  close(w);
  show("closed", pread(w, buffer, 16, 0));
  show("none", pread(-1, buffer, 16, 0));
  show("fsync of a pipe", fsync(fds[0]));
  show("fdatasync of nothing", fdatasync(9999));
  int null = open("/dev/zero", O_RDWR);
  show("device", pread(null, buffer, 16, 100));
  show("device, writing", pwrite(null, buffer, 16, 100));
  company_goes();
}

// The number stands for one file after the other.
static void a_number_that_changes_its_file_is_read_right(void) {
  company_comes();
  char buffer[BLOCK];
  int blocks = block_file(0);
  int number = dup(blocks);
  CHECK(pread(number, buffer, BLOCK, 0) == BLOCK);
  int fds[2];
  CHECK(pipe(fds) == 0);
  CHECK(dup2(fds[0], number) == number);
  show("a pipe now", pread(number, buffer, 16, 0));
  CHECK(dup2(blocks, number) == number);
  drop(number);
  CHECK(pread(number, buffer, BLOCK, 7 * BLOCK) == BLOCK && is_block(buffer, 7));
  close(number);
  CHECK(write(fds[1], "pipe", 4) == 4);
  CHECK(dup(fds[0]) == number);
  show("a pipe again", read(number, buffer, 16));
  company_goes();
}

static void bad_buffers_fail_alike_cached_or_not(void) {
  company_comes();
  file = block_file(0);
  char* map = mmap(NULL, 2 * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(mprotect(map + BLOCK, BLOCK, PROT_NONE) == 0);
  for (int cached = 0; cached < 2; cached++) {
    for (int round = 0; round < 4; round++) {
      if (!cached) drop(file);
      show("no buffer", pread(file, (void*)8, 100, 0));
      if (!cached) drop(file);
      show("half a buffer", pread(file, map, 2 * BLOCK, 0));
      struct iovec iov = {(void*)8, 100};
      show("no vector buffer", preadv(file, &iov, 1, 0));
      show("no vector", preadv(file, (void*)8, 1, 0));
    }
  }
  show("write from nowhere", pwrite(file, (void*)8, 100, 0));
  company_goes();
}

// ---- the file's own position -------------------------------------------------------------------

enum { RECORD = 100, RECORDS = 4000 };
static atomic_int seen[RECORDS];

static void* read_records(void* arg) {
  char record[RECORD];
  ssize_t r;
  while ((r = read(file, record, RECORD)) != 0) {
    CHECK(r == RECORD);
    int number = atoi(record);
    for (int i = 8; i < RECORD; i++) CHECK(record[i] == (char)('a' + number % 26));
    atomic_fetch_add(&seen[number], 1);
  }
  return arg;
}

static void readers_of_one_position_get_each_record_once(void) {
  file = new_file(0);
  char record[RECORD + 1];
  for (int i = 0; i < RECORDS; i++) {
    memset(record, 'a' + i % 26, RECORD);
    record[snprintf(record, 8, "%d", i)] = ' ';
    record[7] = ' ';
    CHECK(write(file, record, RECORD) == RECORD);
  }
  for (int round = 1; round <= 3; round++) {
    drop(file);
    lseek(file, 0, SEEK_SET);
    run_threads(THREADS, read_records);
    for (int i = 0; i < RECORDS; i++) CHECK(atomic_load(&seen[i]) == round);
  }
  puts("ok");
}

static void* write_records(void* arg) {
  char record[RECORD];
  memset(record, 'a' + (int)(intptr_t)arg, RECORD);
  record[RECORD - 1] = '\n';
  for (int i = 0; i < 500; i++) CHECK(write(file, record, RECORD) == RECORD);
  return arg;
}

static void check_records(void) {
  struct stat st;
  CHECK(fstat(file, &st) == 0);
  printf("size %lld\n", (long long)st.st_size);
  int counts[THREADS] = {0};
  char record[RECORD];
  for (off_t at = 0; at < st.st_size; at += RECORD) {
    CHECK(pread(file, record, RECORD, at) == RECORD);
    for (int i = 1; i < RECORD - 1; i++) CHECK(record[i] == record[0]);
    CHECK(record[RECORD - 1] == '\n');
    counts[record[0] - 'a']++;
  }
  for (int i = 0; i < THREADS; i++) CHECK(counts[i] == 500);
}

static void writers_of_one_position_lose_nothing(void) {
  file = new_file(0);
  run_threads(THREADS, write_records);
  check_records();
}

static void appends_stay_whole(void) {
  file = new_file(O_APPEND);
  run_threads(THREADS, write_records);
  check_records();
}

// Linux: with O_APPEND pwrite appends, whatever the offset.
static void an_appending_file_ignores_the_offset(void) {
  company_comes();
  int fd = new_file(O_APPEND);
  show("first", pwrite(fd, "abc", 3, 100));
  show("second", pwrite(fd, "def", 3, 0));
  char buffer[16] = {0};
  show("both", pread(fd, buffer, 16, 0));
  puts(buffer);
  company_goes();
}

// ---- the disk ----------------------------------------------------------------------------------

static atomic_int direct_fails;

static void* direct_blocks(void* arg) {
  char* buffer;
  CHECK(posix_memalign((void**)&buffer, BLOCK, BLOCK) == 0);
  for (unsigned i = (unsigned)(intptr_t)arg; i < BLOCKS; i += THREADS) {
    CHECK(pread(file, buffer, BLOCK, (off_t)i * BLOCK) == BLOCK);
    CHECK(is_block(buffer, i));
    fill(buffer, i + 1000);
    CHECK(pwrite(file, buffer, BLOCK, (off_t)i * BLOCK) == BLOCK);
    struct iovec iov = {buffer, BLOCK};
    memset(buffer, 0, BLOCK);
    CHECK(preadv(file, &iov, 1, (off_t)i * BLOCK) == BLOCK);
    CHECK(is_block(buffer, i + 1000));
    if (pread(file, buffer + 1, BLOCK, (off_t)i * BLOCK + 1) < 0) atomic_fetch_add(&direct_fails, 1);
  }
  free(buffer);
  return arg;
}

static void reads_and_writes_past_the_cache(void) {
  file = block_file(0);
  if (fcntl(file, F_SETFL, O_DIRECT) != 0) {
    puts("no O_DIRECT here");
    return;
  }
  run_threads(THREADS, direct_blocks);
  printf("unaligned reads failed: %d\n", atomic_load(&direct_fails));
}

// O_DIRECT comes and goes while the descriptor is known.
static void the_cache_can_be_turned_off_and_on(void) {
  company_comes();
  file = block_file(0);
  char* buffer;
  CHECK(posix_memalign((void**)&buffer, BLOCK, 2 * BLOCK) == 0);
  for (unsigned i = 0; i < 64; i++) {
    CHECK(fcntl(file, F_SETFL, i % 2 != 0 ? O_DIRECT : 0) == 0 || errno == EINVAL);
    CHECK(pread(file, buffer, BLOCK, (off_t)i * BLOCK) == BLOCK && is_block(buffer, i));
  }
  company_goes();
  puts("ok");
}

static void* write_and_sync(void* arg) {
  char block[BLOCK];
  for (unsigned i = (unsigned)(intptr_t)arg; i < 64; i += THREADS) {
    fill(block, i);
    CHECK(pwrite(file, block, BLOCK, (off_t)i * BLOCK) == BLOCK);
    CHECK((i % 2 != 0 ? fsync(file) : fdatasync(file)) == 0);
    CHECK(sync_file_range(file, 0, 0, SYNC_FILE_RANGE_WRITE) == 0);
  }
  return arg;
}

static void threads_write_and_sync(void) {
  for (int flags = 0; flags < 2; flags++) {
    file = new_file(flags == 0 ? 0 : O_SYNC);
    run_threads(THREADS, write_and_sync);
    char block[BLOCK];
    for (unsigned i = 0; i < 64; i++) {
      CHECK(pread(file, block, BLOCK, (off_t)i * BLOCK) == BLOCK && is_block(block, i));
    }
  }
  puts("ok");
}

static atomic_int too_big;
static void count_too_big(int sig) { atomic_fetch_add(&too_big, 1); }

static void no_file_beyond_three_blocks(void) {
  signal(SIGXFSZ, count_too_big);
  struct rlimit limit;
  getrlimit(RLIMIT_FSIZE, &limit);
  limit.rlim_cur = 3 * BLOCK;
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static void a_write_beyond_the_limit_is_signalled(void) {
  company_comes();
  no_file_beyond_three_blocks();
  static char block[2 * BLOCK];
  int fd = new_file(0);
  show("across", pwrite(fd, block, 2 * BLOCK, 2 * BLOCK));
  show("behind", pwrite(fd, block, BLOCK, 4 * BLOCK));
  CHECK(fcntl(fd, F_SETFL, O_DIRECT) == 0 || errno == EINVAL);
  show("behind, direct", pwrite(fd, block, BLOCK, 4 * BLOCK));
  printf("signals %d\n", atomic_load(&too_big));
  company_goes();
}

// ---- beside threads that compute: it is the ring that waits for the disk then ----

static atomic_int enough_computed;
static void* compute(void* arg) {
  while (!atomic_load_explicit(&enough_computed, memory_order_relaxed)) {
  }
  return arg;
}

enum { COMPUTE = 9 };  // so that some wait for a cpu, wherever that is
static pthread_t computing[COMPUTE];

static void start_computing(void) {
  for (int i = 0; i < COMPUTE; i++) CHECK(pthread_create(&computing[i], NULL, compute, NULL) == 0);
  sleep_ms(200);  // they have used up their slices
}

static void end_computing(void) {
  atomic_store(&enough_computed, 1);
  for (int i = 0; i < COMPUTE; i++) CHECK(pthread_join(computing[i], NULL) == 0);
}

static void threads_write_and_sync_beside_threads_that_compute(void) {
  start_computing();
  threads_write_and_sync();
  end_computing();
}

static void what_can_not_be_synced_fails_beside_threads_that_compute(void) {
  start_computing();
  int p[2];
  CHECK(pipe(p) == 0);
  show("pipe", fsync(p[1]));
  int dir = open("/tmp", O_RDONLY | O_DIRECTORY);
  show("directory", fsync(dir));
  int path = open("/tmp", O_PATH);
  show("path", fdatasync(path));
  show("closed", fsync(999));
  file = new_file(O_DSYNC);
  show("nothing", pwrite(file, "", 0, 0));
  show("nowhere", pwrite(file, (void*)8, BLOCK, 0));
  struct iovec parts[2] = {{"abc", 3}, {"defg", 4}};
  show("parts", pwritev(file, parts, 2, 10));
  CHECK(fcntl(file, F_SETFL, O_APPEND | O_NONBLOCK) == 0);
  show("appended", pwrite(file, "x", 1, 0));
  show("synced", pwritev2(file, parts, 2, 0, RWF_DSYNC));
  char back[32] = "";
  show("read", pread(file, back, sizeof back - 1, 10));
  puts(back);
  end_computing();
}

static void a_write_for_the_disk_beyond_the_limit_is_signalled(void) {
  start_computing();
  no_file_beyond_three_blocks();
  static _Alignas(BLOCK) char block[2 * BLOCK];
  int fd = new_file(O_DSYNC);
  show("across, synced", pwrite(fd, block, 2 * BLOCK, 2 * BLOCK));
  show("behind, synced", pwrite(fd, block, BLOCK, 4 * BLOCK));
  fd = new_file(0);
  CHECK(fcntl(fd, F_SETFL, O_DIRECT) == 0 || errno == EINVAL);
  show("across, direct", pwrite(fd, block, 2 * BLOCK, 2 * BLOCK));
  show("behind, direct", pwrite(fd, block, BLOCK, 4 * BLOCK));
  fd = new_file(O_DSYNC | O_APPEND);
  show("append", pwrite(fd, block, 2 * BLOCK, 0));
  show("append across", pwrite(fd, block, 2 * BLOCK, 0));
  show("append behind", pwrite(fd, block, 1, 0));
  printf("signals %d\n", atomic_load(&too_big));
  end_computing();
}

// The kernel makes workers for a ring when it first needs them, and gives up what they were for where it can't.
static void what_waits_for_the_disk_does_so_where_no_thread_can_be_made(void) {
  start_computing();
  file = new_file(O_DSYNC);
  CHECK(geteuid() != 0 || setresuid(65534, 65534, 65534) == 0);
  struct rlimit limit = {1, 1};
  CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
  for (int i = 0; i < 3; i++) {
    show("write", pwrite(file, "x", 1, i));
    show("sync", i % 2 != 0 ? fsync(file) : fdatasync(file));
  }
  end_computing();
}

// ---- signals, fork, the end --------------------------------------------------------------------

static atomic_int signals, reader_done;
static void count_signal(int sig) { atomic_fetch_add(&signals, 1); }

static void* read_under_fire(void* arg) {
  char block[BLOCK];
  for (int round = 0; round < 4; round++) {
    for (unsigned i = 0; i < BLOCKS; i += 3) {
      CHECK(pread(file, block, BLOCK, (off_t)i * BLOCK) == BLOCK && is_block(block, i));
    }
    drop(file);
  }
  atomic_store(&reader_done, 1);
  return arg;
}

static void no_signal_cuts_a_disk_read_short(void) {
  struct sigaction sa = {.sa_handler = count_signal};  // no SA_RESTART
  CHECK(sigaction(SIGUSR1, &sa, NULL) == 0);
  file = block_file(0);
  pthread_t reader;
  CHECK(pthread_create(&reader, NULL, read_under_fire, NULL) == 0);
  while (!atomic_load(&reader_done)) {
    pthread_kill(reader, SIGUSR1);
    struct timespec ts = {0, 100000};
    nanosleep(&ts, NULL);
  }
  CHECK(pthread_join(reader, NULL) == 0);
  CHECK(atomic_load(&signals) > 0);
  puts("ok");
}

static atomic_int readers_leave;
static void* read_until_told(void* arg) {
  char block[BLOCK];
  for (unsigned i = 0; !atomic_load(&readers_leave); i = (i + 11) % BLOCKS) {
    if (i % 64 == 0) posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    CHECK(pread(file, block, BLOCK, (off_t)i * BLOCK) == BLOCK && is_block(block, i));
  }
  return arg;
}

static void a_forked_child_reads_for_itself(void) {
  file = block_file(0);
  pthread_t t[4];
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, read_until_told, NULL) == 0);
  for (int round = 0; round < 8; round++) {
    pid_t child = fork();
    if (child == 0) {
      posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
      run_threads(THREADS, read_blocks);
      _exit(7);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  }
  atomic_store(&readers_leave, 1);
  for (int i = 0; i < 4; i++) CHECK(pthread_join(t[i], NULL) == 0);
  puts("ok");
}

static void an_exit_need_not_wait_for_readers(void) {
  file = block_file(0);
  pthread_t t;
  for (int i = 0; i < 16; i++) CHECK(pthread_create(&t, NULL, read_until_told, NULL) == 0);
  sleep_ms(30);
  puts("going");
  fflush(stdout);
  _exit(3);
}

static void an_exec_leaves_readers_behind(void) {
  file = block_file(0);
  pthread_t t;
  for (int i = 0; i < 16; i++) CHECK(pthread_create(&t, NULL, read_until_told, NULL) == 0);
  sleep_ms(30);
  // Descriptors of libcr's own would show up in the new image.
  execl("/bin/sh", "sh", "-c", "n=0; for f in /proc/$$/fd/*; do n=$((n + 1)); done; echo $n", NULL);
  CHECK(!"exec");
}

static atomic_llong worst_gap;
static atomic_int watcher_leaves;
static void* watch_gaps(void* arg) {
  while (!atomic_load(&watcher_leaves)) {
    int64_t before = now_ms();
    sleep_ms(1);
    int64_t gap = now_ms() - before;
    if (gap > atomic_load(&worst_gap)) atomic_store(&worst_gap, gap);
  }
  return arg;
}

// It used to be nine seconds: rforks whose LWKTs did nothing but traps passed the cpu among
// themselves, and nobody looked at its queue or the timers.
static void readers_do_not_starve_a_sleeper(void) {
  file = block_file(0);
  pthread_t watcher, t[48];
  for (int i = 0; i < 48; i++) CHECK(pthread_create(&t[i], NULL, read_until_told, NULL) == 0);
  CHECK(pthread_create(&watcher, NULL, watch_gaps, NULL) == 0);
  sleep_ms(2500);
  atomic_store(&watcher_leaves, 1);
  CHECK(pthread_join(watcher, NULL) == 0);
  atomic_store(&readers_leave, 1);
  for (int i = 0; i < 48; i++) CHECK(pthread_join(t[i], NULL) == 0);
  CHECK(atomic_load(&worst_gap) < 2000);
  puts("ok");
}

// The thread that makes a child by vfork sleeps in the kernel until that is gone, and nothing wakes it.
static atomic_int no_more_reads;
static _Atomic int64_t longest_read;
static void* note_longest_read(void* arg) {
  char block[BLOCK];
  for (unsigned i = (unsigned)(intptr_t)arg * 61; !atomic_load(&no_more_reads); i++) {
    unsigned number = i * 199 % BLOCKS;
    int64_t start = now_ms();
    CHECK(pread(file, block, BLOCK, (off_t)number * BLOCK) == BLOCK);
    int64_t took = now_ms() - start, most = atomic_load(&longest_read);
    while (took > most && !atomic_compare_exchange_weak(&longest_read, &most, took)) {
    }
    if (i % 64 == 0) posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  }
  return NULL;
}
static void readers_do_not_stop_for_a_vfork(void) {
  enum { CHILD_MS = 1000 };
  pthread_t t[THREADS];
  file = block_file(O_RDWR);
  for (intptr_t i = 0; i < THREADS; i++) CHECK(pthread_create(&t[i], NULL, note_longest_read, (void*)i) == 0);
  for (int i = 0; i < 3; i++) {
    sleep_ms(20);
    pid_t pid = vfork();
    if (pid == 0) {
      sleep_ms(CHILD_MS);
      _exit(0);
    }
    CHECK(pid > 0 && waitpid(pid, NULL, 0) == pid);
  }
  atomic_store(&no_more_reads, 1);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(t[i], NULL) == 0);
  puts(atomic_load(&longest_read) < CHILD_MS / 2 ? "they went on" : "they stopped");
  close(file);
}

static const struct test_case cases[] = {
    CASE(threads_read_what_is_not_cached),
    CASE(sixty_threads_read_files_of_their_own),
    CASE(the_end_of_a_file_makes_a_read_short),
    CASE(a_read_that_is_cached_in_part_is_whole),
    CASE(vectors_are_filled_in_order),
    CASE(the_nonblocking_flag_means_nothing_to_a_file),
    CASE(descriptors_that_cannot_be_read_say_so),
    CASE(a_number_that_changes_its_file_is_read_right),
    CASE(bad_buffers_fail_alike_cached_or_not),
    CASE(readers_of_one_position_get_each_record_once),
    CASE(writers_of_one_position_lose_nothing),
    CASE(appends_stay_whole),
    CASE(an_appending_file_ignores_the_offset),
    CASE(reads_and_writes_past_the_cache),
    CASE(the_cache_can_be_turned_off_and_on),
    CASE(threads_write_and_sync),
    CASE(a_write_beyond_the_limit_is_signalled),
    CASE(threads_write_and_sync_beside_threads_that_compute),
    CASE(what_can_not_be_synced_fails_beside_threads_that_compute),
    CASE(a_write_for_the_disk_beyond_the_limit_is_signalled),
    CASE(what_waits_for_the_disk_does_so_where_no_thread_can_be_made),
    CASE(no_signal_cuts_a_disk_read_short),
    CASE(a_forked_child_reads_for_itself),
    CASE(an_exit_need_not_wait_for_readers),
    CASE(an_exec_leaves_readers_behind),
    CASE(readers_do_not_starve_a_sleeper),
    CASE(readers_do_not_stop_for_a_vfork),
};
CASE_MAIN(cases)
