const { Worker, isMainThread, parentPort, workerData, MessageChannel, receiveMessageOnPort } = require('worker_threads');
const fs = require('fs'), crypto = require('crypto'), zlib = require('zlib'), net = require('net'), { spawnSync, spawn, execFileSync, fork } = require('child_process'), os = require('os'), dns = require('dns');
if (process.argv[2] === 'forked') { process.on('message', m => { process.send(m * 2); process.disconnect(); }); }
else if (!isMainThread) {
  const { n, shared } = workerData; const a = new Int32Array(shared);
  let s = 0; for (let i = 0; i < 300000; i++) s = (s * 31 + i * n) % 1000003;
  for (let i = 0; i < 1000; i++) Atomics.add(a, 0, 1);
  if (n === 0) { Atomics.wait(a, 1, 0); }
  const junk = []; for (let i = 0; i < 20000; i++) junk.push({ i, s: 'x'.repeat(i % 50) });
  parentPort.postMessage({ n, s, junk: junk.length }); if (n === 7) throw new Error('on purpose');
} else (async () => {
  const shared = new SharedArrayBuffer(16), a = new Int32Array(shared), out = [];
  const ws = []; for (let n = 0; n < 8; n++) { const w = new Worker(__filename, { workerData: { n, shared } }); ws.push(new Promise(r => { w.on('message', m => { out.push(m); }); w.on('error', e => { if (n === 7) out.push({ n: 8, s: e.message }); else console.log(e); }); w.on('exit', c => r(c)); })); }
  setTimeout(() => { Atomics.store(a, 1, 1); Atomics.notify(a, 1); }, 50);
  console.log(await Promise.all(ws)); console.log(out.sort((x, y) => x.n - y.n), a[0]);
  const w = new Worker('for(;;);', { eval: true }); await new Promise(r => w.on('online', r)); console.log('terminated', await w.terminate());
  const hashes = await Promise.all([...Array(16).keys()].map(i => new Promise(r => crypto.pbkdf2('p' + i, 's', 2000, 8, 'sha256', (e, k) => r(k.toString('hex')))))); console.log(hashes.join());
  const z = await Promise.all([...Array(8).keys()].map(i => new Promise(r => zlib.gzip(Buffer.alloc(100000, i), (e, b) => zlib.gunzip(b, (e, c) => r(c.length)))))); console.log(z.join());
  await Promise.all([...Array(20).keys()].map(i => fs.promises.writeFile('f' + i, 'x'.repeat(i * 100)))); console.log((await Promise.all([...Array(20).keys()].map(i => fs.promises.readFile('f' + i)))).map(b => b.length).join());
  const server = net.createServer(c => c.pipe(c)); await new Promise(r => server.listen(0, '127.0.0.1', r));
  console.log((await Promise.all([...Array(20).keys()].map(i => new Promise(r => { const c = net.connect(server.address().port, '127.0.0.1', () => c.end('hello ' + i)); let s = ''; c.on('data', d => s += d); c.on('end', () => r(s)); })))).join()); server.close();
  console.log(spawnSync('sh', ['-c', 'cat; exit 3'], { input: 'child' }).stdout.toString(), execFileSync('echo', ['exec']).toString().trim());
  console.log(await new Promise(r => { const f = fork(__filename, ['forked']); f.on('message', r); f.send(21); }));
  const p = spawn('sleep', ['100']); setTimeout(() => p.kill('SIGTERM'), 30); console.log(await new Promise(r => p.on('exit', (c, s) => r([c, s]))));
  process.on('SIGUSR1', () => { }); process.on('SIGUSR2', () => { console.log('usr2'); fs.watch('.', () => { }).close(); process.exit(4); }); process.kill(process.pid, 'SIGUSR2'); setTimeout(() => { }, 100000);
})();
