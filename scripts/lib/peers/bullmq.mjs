// Jobs a second through BullMQ: one process that adds jobs, so many in flight, and works them, so many at a time.
// node bullmq.mjs <port> <jobs> <in flight>
import { Queue, Worker } from 'bullmq';

const [port, jobs, inFlight] = process.argv.slice(2).map(Number);
const connection = { host: '127.0.0.1', port, maxRetriesPerRequest: null };
const queue = new Queue('bench', { connection, defaultJobOptions: { removeOnComplete: true } });
await queue.waitUntilReady();
let done = 0;
let finish;
const finished = new Promise((resolve) => { finish = resolve; });
const worker = new Worker('bench', async () => {}, { connection, concurrency: inFlight });
worker.on('completed', () => { if (++done === jobs) finish(); });
await worker.waitUntilReady();
const began = process.hrtime.bigint();
let next = 0;
await Promise.all(Array.from({ length: inFlight }, async () => {
  while (next < jobs) await queue.add('job', { n: next++ });
}));
await finished;
console.log(Math.round(jobs / (Number(process.hrtime.bigint() - began) / 1e9)));
process.exit(0);
