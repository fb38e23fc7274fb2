// The API from C++, with the language's own threads on the same LWKT scheduler.
#include <libcr/shim.h>
#include <libcr/thread.h>
#include <libcr/token.h>

#include <atomic>
#include <cstdio>
#include <future>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

lwkt_token token;
long counter;  // under the token

class Tokened {
 public:
  Tokened() { lwkt_gettoken(&token); }
  ~Tokened() { lwkt_reltoken(&token); }
};

void count() {
  for (int i = 0; i < 2000; i++) {
    Tokened hold;
    long seen = counter;
    if (i % 100 == 0) {
      lwkt_yield();  // lets go of the token meanwhile
      seen = counter;
    }
    counter = seen + 1;
  }
}

thread_local std::string name = "nobody";

bool exceptions_cross_threads() {
  auto f = std::async(std::launch::async, [] {
    name = "worker";
    if (name.size() == 6) throw std::runtime_error(name);
    return 1;
  });
  try {
    f.get();
  } catch (const std::runtime_error& e) {
    return e.what() == std::string("worker") && name == "nobody";
  }
  return false;
}

}  // namespace

int main() {
  lwkt_token_init(&token, "counter");
  std::vector<std::thread> threads;
  std::vector<thread_t> lwkts;
  for (int i = 0; i < 4; i++) {
    threads.emplace_back(count);
    thread_t td = nullptr;
    if (lwkt_create([](void*) { count(); }, nullptr, &td, 0, 0, "count") != 0) return 2;
    lwkts.push_back(td);
  }
  for (auto& t : threads) t.join();
  for (thread_t td : lwkts) lwkt_join(td);
  if (counter != 8 * 2000) {
    std::fprintf(stderr, "counter is %ld\n", counter);
    return 1;
  }
  if (!exceptions_cross_threads()) {
    std::fprintf(stderr, "the exception did not arrive\n");
    return 1;
  }
  std::puts("ok");
  return 0;
}
