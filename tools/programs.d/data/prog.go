package main
import ("fmt"; "sync"; "os/exec"; "net"; "bufio"; "time"; "runtime"; "os"; "os/signal"; "syscall")
func fib(n int) int { if n < 2 { return n }; return fib(n-1) + fib(n-2) }
func main() {
  var wg sync.WaitGroup; var mu sync.Mutex; total := 0
  for i := 0; i < 100; i++ { wg.Add(1); go func(i int) { defer wg.Done(); x := fib(15 + i%5); mu.Lock(); total += x; mu.Unlock() }(i) }
  wg.Wait(); fmt.Println(total)
  ch := make(chan int); go func() { for i := 0; i < 10000; i++ { ch <- i }; close(ch) }(); s := 0; for v := range ch { s += v }; fmt.Println(s)
  o, err := exec.Command("echo", "sub").Output(); fmt.Println(string(o), err)
  l, _ := net.Listen("tcp", "127.0.0.1:0"); go func() { for { c, e := l.Accept(); if e != nil { return }; go func() { b := bufio.NewReader(c); t, _ := b.ReadString('\n'); c.Write([]byte(t)); c.Close() }() } }()
  for i := 0; i < 20; i++ { c, _ := net.Dial("tcp", l.Addr().String()); fmt.Fprintf(c, "hi %d\n", i); t, _ := bufio.NewReader(c).ReadString('\n'); fmt.Print(t) }
  for i := 0; i < 20; i++ { x := make([][]byte, 0); for k := 0; k < 1000; k++ { x = append(x, make([]byte, 1000)) }; runtime.GC(); _ = x }
  func() { defer func() { fmt.Println("recovered", recover() != nil) }(); var p *int; *p = 1 }()
  sc := make(chan os.Signal, 1); signal.Notify(sc, syscall.SIGUSR1); syscall.Kill(os.Getpid(), syscall.SIGUSR1); fmt.Println(<-sc)
  go func() { for { } }(); time.Sleep(50 * time.Millisecond); fmt.Println("done"); os.Exit(3)
}
