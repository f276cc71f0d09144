// Three durable steps in Restate, in the two forms that it has for them; each hands on what it is given.
// node restate.mjs <port>
import * as restate from '@restatedev/restate-sdk';

const step = restate.service({ name: 'step', handlers: { echo: async (_, input) => input } });

// Each step is done by another service: as Synod's are by agents.
const calls = restate.workflow({
  name: 'calls',
  handlers: {
    run: async (ctx, input) => {
      const steps = ctx.serviceClient(step);
      return steps.echo(await steps.echo(await steps.echo(input)));
    },
  },
});

// Each step is done by the workflow's own handler, and its result kept.
const runs = restate.workflow({
  name: 'runs',
  handlers: {
    run: async (ctx, input) => {
      const a = await ctx.run('a', async () => input);
      const b = await ctx.run('b', async () => a);
      return ctx.run('c', async () => b);
    },
  },
});

await restate.serve({ services: [step, calls, runs], port: Number(process.argv[2]) });
