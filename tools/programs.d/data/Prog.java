import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.concurrent.locks.*;
import java.util.stream.*;

/** Threads, locks, garbage, faults that become exceptions, processes, timers: what comes out depends on no timing. */
public class Prog {
  static class Node { Node next; byte[] load = new byte[512]; Node(Node n) { next = n; } }

  static void pools() throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(8);
    List<Future<Long>> sums = new ArrayList<>();
    for (int i = 0; i < 200; i++) { final int n = i; sums.add(pool.submit(() -> LongStream.range(0, n * 100L).sum())); }
    long total = 0; for (Future<Long> f : sums) total += f.get();
    pool.shutdown(); System.out.println("pool " + total + " " + pool.awaitTermination(10, TimeUnit.SECONDS));
    System.out.println("streams " + IntStream.range(0, 2_000_000).parallel().mapToLong(i -> (long) i * i % 7).sum());
    System.out.println("join " + ForkJoinPool.commonPool().invoke(new Fib(24)));
    CompletableFuture<Integer> f = CompletableFuture.supplyAsync(() -> 20).thenCombineAsync(CompletableFuture.supplyAsync(() -> 22), Integer::sum);
    System.out.println("future " + f.get());
  }
  static class Fib extends RecursiveTask<Integer> {
    final int n; Fib(int n) { this.n = n; }
    protected Integer compute() { if (n < 10) return fib(n); Fib a = new Fib(n - 1); a.fork(); return new Fib(n - 2).compute() + a.join(); }
    static int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
  }

  static void locks() throws Exception {
    final Object monitor = new Object(); final int[] turn = {0, 0};
    Thread[] ts = new Thread[4];
    for (int k = 0; k < 4; k++) { final int me = k; ts[k] = new Thread(() -> {
      for (int i = 0; i < 500; i++) synchronized (monitor) {
        while (turn[0] != me) { try { monitor.wait(); } catch (InterruptedException e) { return; } }
        turn[1]++; turn[0] = (me + 1) % 4; monitor.notifyAll();
      } }); ts[k].start(); }
    for (Thread t : ts) t.join();
    System.out.println("monitor " + turn[1]);
    ReentrantLock lock = new ReentrantLock(); Condition c = lock.newCondition(); AtomicInteger n = new AtomicInteger();
    CyclicBarrier barrier = new CyclicBarrier(6); CountDownLatch latch = new CountDownLatch(6); Semaphore s = new Semaphore(2);
    for (int k = 0; k < 6; k++) new Thread(() -> { try { for (int i = 0; i < 50; i++) { barrier.await(); s.acquire(); n.incrementAndGet(); s.release(); } } catch (Exception e) { System.out.println(e); } latch.countDown(); }).start();
    latch.await(); System.out.println("barrier " + n);
    BlockingQueue<Integer> q = new ArrayBlockingQueue<>(4); SynchronousQueue<Integer> sq = new SynchronousQueue<>();
    Thread p = new Thread(() -> { try { for (int i = 0; i < 2000; i++) q.put(i); q.put(-1); } catch (InterruptedException e) { } });
    Thread m = new Thread(() -> { try { for (int v; (v = q.take()) >= 0; ) sq.put(v); sq.put(-1); } catch (InterruptedException e) { } });
    p.start(); m.start(); long sum = 0; for (int v; (v = sq.take()) >= 0; ) sum += v; System.out.println("queues " + sum);
    Thread sleeper = new Thread(() -> { try { Thread.sleep(100_000); } catch (InterruptedException e) { System.out.println("interrupted"); } });
    sleeper.start(); Thread.sleep(30); sleeper.interrupt(); sleeper.join();
    Thread parked = new Thread(() -> { LockSupport.park(); System.out.println("unparked"); }); parked.start(); Thread.sleep(20); LockSupport.unpark(parked); parked.join();
    lock.lock(); try { System.out.println("timed out " + !c.await(20, TimeUnit.MILLISECONDS)); } finally { lock.unlock(); }
  }

  static volatile Node kept;
  static void garbage() throws Exception {
    Thread[] ts = new Thread[4]; AtomicLong made = new AtomicLong();
    for (int k = 0; k < ts.length; k++) { ts[k] = new Thread(() -> { Node n = null; for (int i = 0; i < 60_000; i++) { n = new Node(i % 500 == 0 ? null : n); made.incrementAndGet(); } kept = n; }); ts[k].start(); }
    for (int i = 0; i < 3; i++) System.gc();
    for (Thread t : ts) t.join(); System.out.println("garbage " + made);
  }

  static int length(String s) { return s.length(); }
  static int depth(int n) { return depth(n + 1) + 1; }
  static void faults() throws Exception {
    int caught = 0; String[] strings = {"abc", null};
    for (int i = 0; i < 400_000; i++) { try { caught += length(strings[i % 50 == 0 ? 1 : 0]) == 3 ? 0 : 1; } catch (NullPointerException e) { caught++; } }
    System.out.println("null pointers " + caught);
    Callable<String> deep = () -> { try { depth(0); return "no"; } catch (StackOverflowError e) { return "overflow"; } };
    FutureTask<String> task = new FutureTask<>(deep); new Thread(null, task, "deep", 1 << 20).start(); System.out.println("stack " + task.get() + " " + deep.call());
    int zero = 0; for (int i = 0; i < 30_000; i++) try { zero += 7 / (i % 3 == 0 ? 0 : 1); } catch (ArithmeticException e) { zero -= 14; }
    System.out.println("division " + zero);
  }

  static volatile boolean stop; static long spun;
  static void safepoints() throws Exception {
    Thread[] ts = new Thread[3];
    for (int k = 0; k < ts.length; k++) { ts[k] = new Thread(() -> { long n = 0; while (!stop) n = n * 31 + 1; spun += n; }); ts[k].start(); }
    for (int i = 0; i < 20; i++) { Thread.sleep(5); if (i % 4 == 0) System.gc(); ts[i % 3].getStackTrace(); }
    stop = true; for (Thread t : ts) t.join(); System.out.println("safepoints");
  }

  static void others() throws Exception {
    ScheduledExecutorService s = Executors.newScheduledThreadPool(2); CountDownLatch ticks = new CountDownLatch(5);
    s.scheduleAtFixedRate(ticks::countDown, 1, 5, TimeUnit.MILLISECONDS); System.out.println("ticks " + ticks.await(20, TimeUnit.SECONDS)); s.shutdownNow();
    Process p = new ProcessBuilder("sh", "-c", "cat; exit 3").start(); p.getOutputStream().write("to a child".getBytes()); p.getOutputStream().close();
    System.out.println(new String(p.getInputStream().readAllBytes()) + " " + p.waitFor());
    java.net.ServerSocket server = new java.net.ServerSocket(0, 50, java.net.InetAddress.getLoopbackAddress());
    Thread echo = new Thread(() -> { try { for (int i = 0; i < 20; i++) try (java.net.Socket c = server.accept()) { c.getOutputStream().write(c.getInputStream().readNBytes(4)); } } catch (Exception e) { System.out.println(e); } });
    echo.start(); int echoed = 0;
    for (int i = 0; i < 20; i++) try (java.net.Socket c = new java.net.Socket(server.getInetAddress(), server.getLocalPort())) { c.getOutputStream().write("ping".getBytes()); echoed += c.getInputStream().readNBytes(4).length; }
    echo.join(); System.out.println("echoed " + echoed);
    java.nio.channels.Pipe pipe = java.nio.channels.Pipe.open(); pipe.source().configureBlocking(false); java.nio.channels.Selector sel = java.nio.channels.Selector.open();
    pipe.source().register(sel, java.nio.channels.SelectionKey.OP_READ); Thread w = new Thread(() -> { try { Thread.sleep(20); pipe.sink().write(java.nio.ByteBuffer.wrap(new byte[3])); } catch (Exception e) { } }); w.start();
    System.out.println("selected " + sel.select(20_000)); w.join();
    ThreadLocal<Integer> local = ThreadLocal.withInitial(() -> 5); int[] got = {0}; Thread t = new Thread(() -> { got[0] = local.get(); }); t.start(); t.join(); System.out.println("local " + got[0]);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook")));
  }

  public static void main(String[] a) throws Exception { pools(); locks(); garbage(); faults(); safepoints(); others(); System.exit(5); }
}
