// Requests through Restate's ingress, to the service `step` of ../restate.mjs.
// node restate.mjs <ingress> [keyed]
import { randomUUID } from 'node:crypto';
import { Pool } from 'undici';
import { limitMs, serve } from './asker.mjs';

const [ingress, keyed] = process.argv.slice(2);
const pool = new Pool(ingress, { connections: 512, headersTimeout: limitMs, bodyTimeout: limitMs });

async function ask(text) {
  const headers = { 'content-type': 'application/json' };
  // With a key a request may be repeated after a silence and is still done once: its result is kept for that.
  if (keyed) headers['idempotency-key'] = randomUUID();
  const { statusCode, body } = await pool.request({ path: '/step/echo', method: 'POST', headers, body: JSON.stringify(text) });
  const answer = await body.text();
  if (statusCode !== 200) throw new Error(`${statusCode}: ${answer}`);
  return JSON.parse(answer);
}

await serve(ask, () => pool.close());
