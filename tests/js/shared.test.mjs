/** Several jobs in one page: they share their requests. */

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { job } from "pyramid-zodb-async";

import { Network, Served, answer, loseAnswer, until } from "./served.mjs";

const served = await Served.make({ after });
let gates = 0;

const fetched = globalThis.fetch;

const network = (t) => Network.make(t, served);

const newGate = () => `gate${(gates += 1)}-`;

const sidsOf = ({ url }) => new URL(url, "http://x").searchParams.getAll("sid");

const caught = (promise) => promise.then(assert.fail, (error) => error);

/** Schedule jobs that wait, each at a gate of its own. */
async function scheduleWaiting(net, number) {
  const made = Array.from({ length: number }, async () => {
    const gate = newGate();
    return [await net.schedule("walk", gate, 0), `${gate}end`];
  });
  return Promise.all(made);
}

/** Wait until a request is held that asks for so many jobs. */
const isHeld = (net, number) =>
  until(() => {
    const last = net.asked.at(-1);
    return last?.headers.prefer && (sidsOf(last).length || 1) === number;
  });

test("jobs of the same moment are asked for together", async (t) => {
  const net = await network(t);
  const jobs = await scheduleWaiting(net, 3);
  const waiting = jobs.map(([url]) => job(url, { keep: true }));
  await isHeld(net, 3);
  for (const [i, [, gate]] of jobs.entries()) {
    await served.open(gate);
    assert.equal(await waiting[i], 0);
  }

  const [first, second] = net.asked;
  assert.equal(sidsOf(first).length, 3);
  assert.equal(first.headers.prefer, undefined, "one may have ended already");
  assert.equal(second.headers.prefer, "wait=10");
  assert.match(second.headers["if-none-match"], /^"\S+_\S+_\S+"$/);
  const last = net.asked.at(-1);
  assert.equal(last.url, new URL(jobs[2][0]).pathname);
  assert.equal(last.headers.prefer, "wait=10", "its version was known");
});

test("an end is known at once, though others go on", async (t) => {
  const net = await network(t);
  const jobs = await scheduleWaiting(net, 3);
  const waiting = jobs.map(([url]) => job(url, { keep: true }));
  await isHeld(net, 3);
  for (const [i, [, gate]] of jobs.entries()) {
    await served.open(gate);
    const start = performance.now();
    await waiting[i];
    assert(performance.now() - start < 8_000, "it waited for the others");
  }
});

test("a job joins a request that is held, at once", async (t) => {
  const net = await network(t);
  const [[one, gate], [two, other]] = await scheduleWaiting(net, 2);
  const first = job(one, { keep: true });
  await isHeld(net, 1);
  await served.open(other);
  const start = performance.now();

  assert.equal(await job(two, { keep: true }), 0);
  assert(performance.now() - start < 8_000, "the other was waited for");
  assert(net.asked.some((asked) => sidsOf(asked).length === 2));
  await served.open(gate);
  assert.equal(await first, 0);
});

test("no two requests are closer together than 200 ms", async (t) => {
  const net = await network(t);
  const jobs = await scheduleWaiting(net, 6);
  // by the client's clock: the way of a request may take longer or shorter
  const times = [];
  t.mock.method(globalThis, "fetch", (...args) => {
    if (args[0] instanceof Request) {
      times.push(performance.now());
    }
    return fetched(...args);
  });
  const waiting = [];
  for (const [url] of jobs) {
    waiting.push(job(url, { keep: true }));
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
  await isHeld(net, 6);
  await served.open(...jobs.map(([, gate]) => gate));
  await Promise.all(waiting);

  assert.equal(times.length, net.asked.length);
  times.slice(1).forEach((at, i) => {
    assert(at - times[i] > 199, `${at - times[i]} ms`);
  });
});

test("no request asks for more than a hundred jobs", async (t) => {
  const net = await network(t);
  const urls = await Promise.all(
    Array.from({ length: 130 }, (_, i) => net.schedule("add", i)),
  );
  const start = performance.now();
  const results = await Promise.all(
    urls.map((url) => job(url, { keep: true })),
  );
  const seconds = (performance.now() - start) / 1_000;

  assert.deepEqual(
    results,
    Array.from({ length: 130 }, (_, i) => i + 1),
  );
  const sizes = net.asked.map((asked) => sidsOf(asked).length);
  assert.equal(sizes[0], 100);
  assert.equal(sizes[1], 30);
  const most = 10 + 6 * seconds; // five a second, and the first ones
  assert(net.asked.length < most, `${net.asked.length} requests`);
});

test("one that is unknown or fails does not harm the others", async (t) => {
  const net = await network(t);
  const [[url, gate]] = await scheduleWaiting(net, 1);
  const waiting = job(url, { keep: true });
  const failed = caught(job(await net.schedule("fail", newGate())));
  const unknown = caught(job(`${net.url}/jobs/nowhere`));

  assert.equal((await failed).message, "The gate is shut.");
  assert.equal((await unknown).type, "UnknownJob");
  await served.open(gate);
  assert.equal(await waiting, 0);
});

test("one that is left is not acknowledged", async (t) => {
  const net = await network(t);
  const [[one, gate], [two, other]] = await scheduleWaiting(net, 2);
  const control = new AbortController();
  const left = caught(job(one, { leave: control.signal }));
  const waiting = job(two, { keep: true });
  await isHeld(net, 2);
  control.abort();
  await left;
  await served.open(gate);
  await served.open(other);

  assert.equal(await waiting, 0);
  assert.equal(await job(one, { keep: true }), 0);
  assert.deepEqual(net.of("DELETE"), []);
});

test("a lost answer about several is asked for again", async (t) => {
  const net = await network(t);
  const jobs = await scheduleWaiting(net, 2);
  net.faults.push(loseAnswer, answer(503));
  const waiting = jobs.map(([url]) => job(url, { keep: true }));
  await isHeld(net, 2);
  await served.open(...jobs.map(([, gate]) => gate));

  assert.deepEqual(await Promise.all(waiting), [0, 0]);
});

test("an answer that is none of several is asked for again", async (t) => {
  const net = await network(t);
  const jobs = await scheduleWaiting(net, 2);
  await served.open(...jobs.map(([, gate]) => gate));
  net.faults.push(answer(200, {}, '{"jobs": [null, null]}'));
  const waiting = jobs.map(([url]) => job(url, { keep: true }));

  assert.deepEqual(await Promise.all(waiting), [0, 0]);
});

test("where several cannot be asked for, each is by itself", async (t) => {
  const net = await network(t);
  const jobs = await scheduleWaiting(net, 2);
  net.faults.push(answer(404));
  const waiting = jobs.map(([url]) => job(url, { keep: true }));
  await served.open(...jobs.map(([, gate]) => gate));

  assert.deepEqual(await Promise.all(waiting), [0, 0]);
  assert.deepEqual(net.asked.map(sidsOf).slice(1).flat(), []);
});

test("a job too large for a common answer is asked for alone", async (t) => {
  const net = await network(t);
  const megabytes = [3, 3, 0];
  const urls = await Promise.all(
    megabytes.map((number) => net.schedule("fill", number)),
  );
  await until(async () => {
    const looks = urls.map((url) => fetched(url).then((it) => it.json()));
    return (await Promise.all(looks)).every(({ done }) => done);
  });
  net.asked.length = 0;
  const results = await Promise.all(urls.map((url) => job(url, { keep: true })));

  assert.deepEqual(
    results.map(({ length }) => length / 2 ** 20),
    megabytes,
  );
  assert.deepEqual(net.asked.map((it) => sidsOf(it).length), [3, 0]);
  assert.equal(net.asked[1].url, new URL(urls[1]).pathname);
});

test("a job under two URLs is asked for by each of them", async (t) => {
  const net = await network(t);
  const [[url, gate]] = await scheduleWaiting(net, 1);
  const [head, last] = [url.slice(0, -1), url.at(-1).charCodeAt(0)];
  const waiting = [url, `${head}%${last.toString(16)}`].map((each) =>
    job(each, { keep: true }),
  );
  await isHeld(net, 1);
  await served.open(gate);

  assert.deepEqual(await Promise.all(waiting), [0, 0]);
});

test("jobs of different places do not share", async (t) => {
  const [one, two] = [await network(t), await network(t)];
  const urls = [await one.schedule("add", 1), await two.schedule("add", 2)];
  const results = await Promise.all(
    urls.map((url) => job(url, { keep: true })),
  );

  assert.deepEqual(results, [2, 3]);
  assert.deepEqual([...one.asked, ...two.asked].flatMap(sidsOf), []);
});
