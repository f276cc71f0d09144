// What every asker on Node does: it follows the orders that come on stdin, one line of JSON each, and says what they came to.
// cli/src/bench/requests/asker.rs says how.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const limitMs = 30_000;

function say(what) {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

function fail(error) {
  say({ error: String(error?.stack ?? error) });
  process.exit(1);
}

// Starts a worker, a program beneath this one; it ends when its stdin does, which is when this process does at the latest.
export function worker(program, ...args) {
  const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'inherit'] });
  child.on('error', fail);
  const unasked = (code, signal) => fail(new Error(`the worker ended: ${signal ?? code}`));
  child.on('exit', unasked);
  return {
    async end() {
      child.off('exit', unasked);
      const ended = new Promise((resolve) => { child.once('exit', resolve); });
      child.stdin.end();
      await Promise.race([ended, sleep(10_000).then(() => { throw new Error('the worker does not end'); })]);
    },
  };
}

// For a worker: `end` is called once whoever started it wants it to end, or is no more.
export function endWithStdin(end) {
  process.stdin.resume();
  process.stdin.on('end', () => { end().then(() => process.exit(0), fail); });
}

// `ask` sends a text and answers with the reply, or throws after `limitMs`; `end` ends what was started.
export async function serve(ask, end) {
  try {
    await ask('x');
    say({ ready: true });
    for await (const line of createInterface({ input: process.stdin })) say(await follow(ask, JSON.parse(line)));
    await end();
    process.exit(0);
  } catch (error) {
    fail(error);
  }
}

async function follow(ask, { in_flight: inFlight, warm_up_ms: warmUpMs, window_ms: windowMs, bytes }) {
  const text = 'x'.repeat(bytes);
  const took = [];
  let [phase, asked] = ['warming', 0];
  const oneByOne = async () => {
    while (phase !== 'ending') {
      const began = performance.now();
      const reply = await ask(text);
      if (reply !== text) throw new Error(`the reply is ${JSON.stringify(reply)}, ${text} was sent`);
      asked += 1;
      if (phase === 'counting') took.push((performance.now() - began) * 1000);
    }
  };
  const all = Promise.all(Array.from({ length: inFlight }, oneByOne));
  // Who fails ends the wait.
  const wait = (ms) => Promise.race([all, sleep(ms)]);
  await wait(warmUpMs);
  phase = 'counting';
  const began = performance.now();
  await wait(windowMs);
  while (took.length < inFlight && performance.now() - began < limitMs) await wait(1);
  phase = 'ending';
  const tookS = (performance.now() - began) / 1000;
  const done = took.length;
  await all;
  took.length = done;
  took.sort((a, b) => a - b);
  return { done, asked, took_s: tookS, p50_us: quantile(took, 0.5), p99_us: quantile(took, 0.99) };
}

// Between two samples where it falls there; 0 where there are none: as figures.rs has it.
function quantile(sorted, share) {
  if (sorted.length === 0) return 0;
  const place = share * (sorted.length - 1);
  const low = sorted[Math.floor(place)];
  return low + (sorted[Math.ceil(place)] - low) * (place % 1);
}

export { limitMs };
