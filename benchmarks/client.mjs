/**
 * Measures what client.py prints: milliseconds from the return of a job's
 * function to the promise. Arguments: the server, and how many jobs of a kind.
 */

import { job } from "../pyramid_zodb_async/static/jobs.js";

const [, , server, number] = process.argv;

/** The system's clock, which time.monotonic() of Python shows as well. */
const now = () => Number(process.hrtime.bigint()) / 1e6;

async function schedule(kind) {
  const answer = await fetch(`${server}/schedule/${kind}`, { method: "POST" });
  return answer.headers.get("Location");
}

async function measure(kind, together, options) {
  const delays = [];
  for (let left = Number(number); left > 0; left -= together) {
    const kinds = Array(together).fill(kind);
    const urls = await Promise.all(kinds.map(schedule));
    const waiting = urls.map(async (url) => {
      const end = await job(url, options);
      delays.push(now() - 1_000 * end);
    });
    await Promise.all(waiting);
  }
  return delays;
}

const onProgress = () => {};

const rows = {
  "one job of 30 to 80 ms": await measure("nap", 1),
  "one of 0.3 to 0.6 s, with a listener": await measure("doze", 1, {
    onProgress,
  }),
  "five of 0.3 to 0.6 s at once": await measure("doze", 5),
};
console.log(JSON.stringify(rows));
