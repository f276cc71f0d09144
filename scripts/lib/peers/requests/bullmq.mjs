// Requests through BullMQ: `Queue.add`, a worker in a process of its own, and `waitUntilFinished`.
// node bullmq.mjs asker|worker <port of Redis>
import { fileURLToPath } from 'node:url';
import { Queue, QueueEvents, Worker } from 'bullmq';
import { endWithStdin, limitMs, serve, worker } from './asker.mjs';

const [role, port] = process.argv.slice(2);
const connection = { host: '127.0.0.1', port: Number(port), db: 3, maxRetriesPerRequest: null };
const name = 'requests';

if (role === 'worker') {
  // As many at a time as may be in flight.
  const working = new Worker(name, async (job) => job.data.text, { connection, concurrency: 512 });
  working.on('error', (error) => console.error(`bullmq worker: ${error}`));
  endWithStdin(() => working.close());
} else {
  const works = worker(process.execPath, fileURLToPath(import.meta.url), 'worker', port);
  // What has ended is kept for a while: whoever asks for it late would not find it otherwise.
  const queue = new Queue(name, { connection, defaultJobOptions: { removeOnComplete: { count: 10_000 } } });
  const events = new QueueEvents(name, { connection });
  // Each that is waited for listens to both.
  for (const listened of [queue, events]) listened.setMaxListeners(0);
  await events.waitUntilReady();
  const ask = async (text) => (await queue.add('echo', { text })).waitUntilFinished(events, limitMs);
  await serve(ask, async () => {
    await works.end();
    await events.close();
    await queue.close();
  });
}
