// C++20's threads: what libstdc++ makes of NPTL, and unwinding on LWKTs.
#include "case.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>

#include <barrier>
#include <condition_variable>
#include <exception>
#include <future>
#include <latch>
#include <mutex>
#include <numeric>
#include <semaphore>
#include <shared_mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

static void jthreads() {
  std::atomic<int> n = 0;
  {
    std::vector<std::jthread> v;
    for (int i = 0; i < 20; i++) {
      v.emplace_back([&](std::stop_token st) {
        while (!st.stop_requested()) std::this_thread::yield();
        n++;
      });
    }
  }
  printf("%d\n", n.load());
}

static void stop_callbacks() {
  std::mutex m;
  std::condition_variable_any cv;
  bool stopped = false;
  std::jthread t([&](std::stop_token st) {
    std::unique_lock l(m);
    cv.wait(l, st, [] { return false; });
    stopped = st.stop_requested();
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  t.request_stop();
  t.join();
  printf("%d\n", stopped);
}

static void futures() {
  std::vector<std::future<long>> fs;
  for (int i = 0; i < 32; i++) {
    fs.push_back(std::async(std::launch::async, [i] {
      std::vector<long> v(1000);
      std::iota(v.begin(), v.end(), i);
      return std::accumulate(v.begin(), v.end(), 0l);
    }));
  }
  long sum = 0;
  for (auto& f : fs) sum += f.get();
  std::promise<std::string> p;
  std::thread t([&] { p.set_value("kept"); });
  auto f = p.get_future();
  printf("%ld %s\n", sum, f.get().c_str());
  t.join();
  std::promise<int> late;
  printf("%d\n", late.get_future().wait_for(std::chrono::milliseconds(20)) == std::future_status::timeout);
  std::packaged_task<int(int)> task([](int x) { return x * 2; });
  auto tf = task.get_future();
  std::thread(std::move(task), 21).detach();
  printf("%d\n", tf.get());
}

static int thrower(int depth) {
  if (depth == 0) throw std::runtime_error("from the depth");
  return thrower(depth - 1) + 1;
}
static void exceptions_across_threads() {
  for (int i = 0; i < 50; i++) {
    auto f = std::async(std::launch::async, thrower, i);
    try {
      f.get();
      puts("no exception");
    } catch (const std::runtime_error& e) {
      if (i == 49) puts(e.what());
    }
  }
  std::exception_ptr p;
  std::thread t([&] {
    try {
      thrower(3);
    } catch (...) {
      p = std::current_exception();
    }
  });
  t.join();
  try {
    std::rethrow_exception(p);
  } catch (const std::exception& e) {
    puts(e.what());
  }
}

static void concurrent_exceptions() {
  std::vector<std::thread> v;
  std::atomic<int> caught = 0;
  for (int i = 0; i < 8; i++) {
    v.emplace_back([&] {
      for (int k = 0; k < 500; k++) {
        try {
          thrower(k % 20);
        } catch (const std::runtime_error&) {
          caught++;
        }
      }
    });
  }
  for (auto& t : v) t.join();
  printf("%d\n", caught.load());
}

static std::atomic<int> made, gone;
struct Counted {
  int value = 7;
  Counted() { made++; }
  ~Counted() { gone++; }
};
thread_local Counted counted;
static void thread_local_destructors() {
  std::vector<std::thread> v;
  for (int i = 0; i < 20; i++) {
    v.emplace_back([i] {
      counted.value = i;
      std::this_thread::yield();
      if (counted.value != i) puts("lost");
    });
  }
  for (auto& t : v) t.join();
  printf("%d %d\n", made.load(), gone.load());
}

static void locks_latches_barriers() {
  std::shared_mutex sm;
  std::counting_semaphore<4> sem(4);
  std::latch latch(8);
  std::barrier bar(8);
  int value = 0;
  std::vector<std::jthread> v;
  for (int i = 0; i < 8; i++) {
    v.emplace_back([&] {
      latch.arrive_and_wait();
      for (int k = 0; k < 200; k++) {
        // Not acquire(): libstdc++ 12's release() wakes nobody if it finds permits left, so of two that wait while two
        // are released one may sleep on. (5 of 1,000 runs of the i386 program with two cpus.)
        while (!sem.try_acquire()) std::this_thread::yield();
        if (k % 4 == 0) {
          std::unique_lock l(sm);
          value++;
        } else {
          std::shared_lock l(sm);
          if (value < 0) puts("negative");
        }
        sem.release();
        if (k % 50 == 0) bar.arrive_and_wait();
      }
    });
  }
  v.clear();
  printf("%d\n", value);
}

static void atomic_wait_notify() {
  std::atomic<int> a = 0;
  std::jthread t([&] {
    for (int i = 0; i < 2000; i++) {
      a.wait(2 * i);
      a.store(2 * i + 2);
      a.notify_one();
    }
  });
  for (int i = 0; i < 2000; i++) {
    a.store(2 * i + 1);
    a.notify_one();
    a.wait(2 * i + 1);
  }
  t.join();
  printf("%d\n", a.load());
}

static void uncaught_in_thread() {
  fflush(stdout);
  freopen("/dev/null", "w", stderr);
  std::thread([] { throw 1; }).join();
}

static void throw_from_handler(int) { throw 5; }
// -fnon-call-exceptions: the frame of a signal must unwind into the code that faulted.
static int throw_through_signal_frame() {
  try {
    *reinterpret_cast<volatile int*>(16) = 1;
  } catch (int n) {
    return n;
  }
  return 0;
}
static void exception_out_of_a_fault_handler() {
  struct sigaction sa {};
  sa.sa_handler = throw_from_handler;
  sa.sa_flags = SA_NODEFER;
  sigaction(SIGSEGV, &sa, nullptr);
  for (int i = 0; i < 3; i++) printf("%d\n", throw_through_signal_frame());
  std::thread([] { printf("%d\n", throw_through_signal_frame()); }).join();
}

static int frames;
static void count_frames(int) {
  void* at[64];
  frames = backtrace(at, 64);
}
static void backtrace_through_a_handler() {
  signal(SIGUSR1, count_frames);
  void* at[64];
  int outside = backtrace(at, 64);
  raise(SIGUSR1);
  printf("%d\n", frames > outside);
}

static void load_library() {
  // libgomp holds sites of its own and starts threads; it comes by dlopen.
  void* h = dlopen("libgomp.so.1", RTLD_NOW);
  CHECK(h != nullptr);
  auto parallel = reinterpret_cast<void (*)(void (*)(void*), void*, unsigned, unsigned)>(
      dlsym(h, "GOMP_parallel"));
  CHECK(parallel != nullptr);
  static std::atomic<int> ran;
  for (int i = 0; i < 200; i++) parallel([](void*) { ran++; }, nullptr, 4, 0);
  printf("%d\n", ran.load());
}

static const test_case cases[] = {
    CASE(jthreads), CASE(stop_callbacks), CASE(futures), CASE(exceptions_across_threads),
    CASE(concurrent_exceptions), CASE(thread_local_destructors), CASE(locks_latches_barriers),
    CASE(atomic_wait_notify), CASE(uncaught_in_thread), CASE(exception_out_of_a_fault_handler),
    CASE(backtrace_through_a_handler), CASE(load_library),
};
CASE_MAIN(cases)
