/** The client module against a real server, through a network that fails. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, test } from "node:test";
import { promisify } from "node:util";

import { JobError, cancel, job, retry } from "pyramid-zodb-async";

import {
  Network,
  Served,
  answer,
  drip,
  loseAnswer,
  loseRequest,
  until,
} from "./served.mjs";

const served = await Served.make({ after });
let gates = 0;

const newGate = () => `gate${(gates += 1)}-`;

const network = (t) => Network.make(t, served);

/** Nobody hears of what the next POST does. */
function loseAnswerToPost(request, response, net) {
  if (request.method === "POST") {
    loseAnswer(request, response, net);
  } else {
    net.faults.unshift(loseAnswerToPost);
    net.pass(request, response);
  }
}

/** Ask for the status document, and give it or the code of the refusal. */
async function look(url) {
  const response = await fetch(url);
  return response.ok ? response.json() : response.status;
}

const isForgotten = (url) => until(async () => (await look(url)) === 404);

const caught = (promise) => promise.then(assert.fail, (error) => error);

test("a promise gives what the job returned", async () => {
  const url = await served.schedule(served.url, "add", 41);

  assert.equal(await job(url), 42);
});

test("the listener hears of each step once, and in order", async () => {
  const gate = newGate();
  const url = await served.schedule(served.url, "walk", gate, 3);
  const seen = [];
  const waiting = job(url, { onProgress: (news) => seen.push(news) });
  for (const step of [1, 2, 3]) {
    await served.open(`${gate}${step}`);
    await until(() => seen.some(({ progress }) => progress?.done === step));
  }
  await served.open(`${gate}end`);

  assert.equal(await waiting, 3);
  const steps = seen.map(({ progress }) => progress?.done ?? 0);
  assert.deepEqual(steps, steps.toSorted());
  assert.deepEqual(seen.at(-1).state, "succeeded");
});

test("a result that has come is acknowledged", async (t) => {
  const net = await network(t);
  const url = await net.schedule("add", 1);

  assert.equal(await job(url), 2);
  await isForgotten(url);
  const [request, ...others] = net.of("DELETE");
  assert.match(request.headers["if-match"], /^".+"$/);
  assert.deepEqual(others, []);
});

test("a result is kept for whoever else wants it", async (t) => {
  const net = await network(t);
  const url = await net.schedule("add", 1);

  assert.equal(await job(url, { keep: true }), 2);
  assert.equal(await job(url, { keep: true }), 2);
  assert.deepEqual(net.of("DELETE"), []);
});

test("one who keeps it keeps it for all who wait with him", async (t) => {
  const net = await network(t);
  const gate = newGate();
  const url = await net.schedule("walk", gate, 0);
  const waiting = [job(url), job(url, { keep: true })];
  await served.open(`${gate}end`);

  assert.deepEqual(await Promise.all(waiting), [0, 0]);
  assert.equal((await look(url)).result, 0);
  assert.deepEqual(net.of("DELETE"), []);
});

test("a job that failed is told with its document, and stays", async (t) => {
  const net = await network(t);
  const url = await net.schedule("fail", newGate());
  const error = await caught(job(url));

  assert(error instanceof JobError);
  assert.equal(error.message, "The gate is shut.");
  assert.equal(error.type, "JobError");
  assert.equal(error.document.state, "failed");
  assert.deepEqual(await look(url), error.document);
  assert.deepEqual(net.of("DELETE"), []);
});

test("a job that failed is tried again", async () => {
  const gate = newGate();
  const url = await served.schedule(served.url, "fail", gate);
  await caught(job(url));

  assert.equal((await caught(retry(url))).message, "The gate is shut.");
  await served.open(gate);
  const seen = [];
  const onProgress = ({ state }) => seen.push(state);
  assert.equal(await retry(url, { onProgress }), "open");
  assert.equal(seen[0], "pending");
  assert.equal(seen.at(-1), "succeeded");
});

test("a retry whose answer is lost is not made twice", async (t) => {
  const net = await network(t);
  const gate = newGate();
  const url = await net.schedule("fail", gate);
  await caught(job(url));
  await served.open(gate);
  net.faults.push(loseAnswerToPost);

  assert.equal(await retry(url, { keep: true }), "open");
  assert.equal((await look(url)).attempt, 2);
  assert.equal(net.of("POST").length, 2);
});

test("a retry whose answer is lost is not made twice if it fails", async (t) => {
  const net = await network(t);
  const url = await net.schedule("fail", newGate());
  await caught(job(url));
  net.faults.push(loseAnswerToPost);

  assert.equal((await caught(retry(url))).message, "The gate is shut.");
  assert.equal((await look(url)).attempt, 2);
  assert.equal(net.of("POST").length, 2);
});

test("a job that has succeeded is not tried again", async () => {
  const url = await served.schedule(served.url, "add", 1);
  await job(url, { keep: true });

  assert.equal(await retry(url), 2);
});

test("what a retry does not find is unknown", async () => {
  const error = await caught(retry(`${served.url}/jobs/nowhere`));

  assert.equal(error.type, "UnknownJob");
});

test("an unknown job is given up after a second", async (t) => {
  const net = await network(t);
  const start = performance.now();
  const error = await caught(job(`${net.url}/jobs/nowhere`));

  assert.equal(error.type, "UnknownJob");
  assert.equal(error.document, null);
  assert(performance.now() - start >= 1_000);
  // browsers show each answer 404 to whoever looks for errors
  const [first, ...others] = net.asked;
  assert(!first.url.includes("?"));
  assert(others.length >= 1);
  assert(others.every(({ url }) => url.includes("?sid=")));
});

test("a fresh job that appears a moment later is waited for", async (t) => {
  const net = await network(t);
  const url = await net.schedule("add", 1);
  const { sid } = await look(url);
  const missing = JSON.stringify({ jobs: [{ sid, status: 404 }] });
  net.faults.push(answer(404), answer(200, {}, missing));

  assert.equal(await job(url), 2);
  await isForgotten(url);
});

for (const [name, fault] of Object.entries({ loseRequest, loseAnswer })) {
  test(`a poll is repeated after ${name}`, async (t) => {
    const net = await network(t);
    const url = await net.schedule("add", 1);
    await until(async () => (await look(url)).done);
    net.asked.length = 0;
    net.faults.push(fault, fault);

    assert.equal(await job(url), 2);
    assert.equal(net.of("GET").length, 3);
  });

  test(`a cancel is repeated after ${name}`, async (t) => {
    const net = await network(t);
    const gate = newGate();
    const url = await net.schedule("walk", gate, 1);
    const control = new AbortController();
    const seen = [];
    const waiting = job(url, {
      signal: control.signal,
      onProgress: (news) => seen.push(news),
    });
    await served.open(`${gate}1`);
    await until(() => seen.length);
    await until(() => net.of("GET").length > 1); // it waits for the end
    net.faults.push(fault);
    control.abort();

    assert.equal((await caught(waiting)).name, "AbortError");
    assert.equal((await look(url)).state, "cancelled");
  });
}

test("a slow network brings all in the end", async (t) => {
  const net = await network(t);
  const url = await net.schedule("add", 1);
  net.faults.push(drip, drip);

  assert.equal(await job(url), 2);
});

test("a redirect to a form says that the login has ended", async (t) => {
  const net = await network(t);
  const url = await net.schedule("add", 1);
  const form = answer(200, { "Content-Type": "text/html" }, "<form>");
  const lead = answer(302, { Location: "/jobs/login" });
  net.faults.push(lead, lead, form);

  assert.equal((await caught(job(url))).type, "LoginEnded");
});

test("a redirect to another origin says so too, at once", async (t) => {
  const net = await network(t);
  const url = await net.schedule("add", 1);
  net.faults.push(...Array(9).fill(answer(302, { Location: "http://127.0.0.1:1/" })));
  for (const ask of [job, cancel, retry]) {
    net.asked.length = 0;
    const error = await caught(ask(url));

    assert.equal(error.type, "LoginEnded");
    assert.equal(error.message, "Your login has ended.");
    assert(net.asked.length <= 2);
  }
});

test("a redirect to a page of a server that is away is passing", async (t) => {
  const net = await network(t);
  const url = await net.schedule("add", 1);
  const lead = answer(302, { Location: "/jobs/away" });
  net.faults.push(lead, lead, answer(503));

  assert.equal(await job(url), 2);
});

test("a busy server is asked again when it says so", async (t) => {
  const net = await network(t);
  const url = await net.schedule("add", 1);
  net.faults.push(answer(503, { "Retry-After": "2" }));
  assert.equal(await job(url), 2);

  const [first, second] = net.of("GET");
  const gap = second.at - first.at;
  assert(gap >= 2_000 && gap < 20_000, `${gap} ms`);
});

test("the server may be killed while a job runs", async (t) => {
  const own = await Served.make(t);
  const url = await own.schedule(own.url, "walk", "gate", 1);
  const seen = [];
  const waiting = job(url, { onProgress: (news) => seen.push(news) });
  await own.open("gate1");
  await until(() => seen.length);
  await own.kill();
  await own.begin();
  await own.open("gateend");

  assert.equal(await waiting, 1);
});

test("a signal cancels the job, which leaves no result", async (t) => {
  const net = await network(t);
  const gate = newGate();
  const url = await net.schedule("walk", gate, 1);
  const control = new AbortController();
  const seen = [];
  const onProgress = (news) => seen.push(news);
  const waiting = job(url, { onProgress, signal: control.signal });
  await served.open(`${gate}1`);
  await until(() => seen.length);
  const reason = new Error("enough of this");
  control.abort(reason);

  assert.equal(await caught(waiting), reason);
  assert.equal((await look(url)).state, "cancelled");
  assert.match(net.of("DELETE")[0].headers["if-match"], /^".+"$/);
});

test("a signal that came before the waiting cancels as well", async () => {
  const url = await served.schedule(served.url, "walk", newGate(), 1);
  const error = await caught(job(url, { signal: AbortSignal.abort() }));

  assert.equal(error.name, "AbortError");
  assert.equal((await look(url)).state, "cancelled");
});

test("a signal that comes too late gets the result, not a lie", async (t) => {
  const net = await network(t);
  const url = await net.schedule("add", 1);
  await until(async () => (await look(url)).done);
  net.asked.length = 0;

  const options = { signal: AbortSignal.abort(), keep: true };
  assert.equal(await job(url, options), 2);
  assert.deepEqual(net.of("DELETE"), [], "it might have forgotten it");
});

test("a cancel that loses the race does not forget the job", async (t) => {
  const net = await network(t);
  const gate = newGate();
  const url = await net.schedule("walk", gate, 1);
  const control = new AbortController();
  const seen = [];
  const { signal } = control;
  const onProgress = (news) => seen.push(news);
  const waiting = job(url, { keep: true, onProgress, signal });
  await served.open(`${gate}1`);
  await until(() => seen.length);
  await until(() => net.of("GET").length > 1);
  // the job ends before the cancel arrives
  const answered = new Promise((resolve) =>
    net.faults.push(async (request, response) => {
      await served.open(`${gate}end`);
      await until(async () => (await look(url)).done);
      net.pass(request, response);
      response.on("close", resolve);
    }),
  );
  control.abort();

  assert.equal(await waiting, 1);
  await answered;
  assert.equal((await look(url)).result, 1);
});

test("of those who wait, one cancels for all", async () => {
  const url = await served.schedule(served.url, "walk", newGate(), 1);
  const control = new AbortController();
  const mine = caught(job(url, { signal: control.signal }));
  const others = caught(job(url));
  control.abort(new Error("mine"));

  assert.equal((await mine).message, "mine");
  assert.equal((await others).type, "JobCancelled");
});

test("cancel() tells how the job ended", async () => {
  const stopped = await served.schedule(served.url, "walk", newGate(), 1);
  const ended = await served.schedule(served.url, "add", 1);
  await job(ended, { keep: true });

  assert.equal((await cancel(stopped)).state, "cancelled");
  assert.equal((await cancel(ended)).result, 2);
  assert.equal((await look(ended)).result, 2);
  const error = await caught(cancel(`${served.url}/jobs/nowhere`));
  assert.equal(error.type, "UnknownJob");
});

test("who leaves does not stop the job", async (t) => {
  const net = await network(t);
  const gate = newGate();
  const url = await net.schedule("walk", gate, 0);
  const control = new AbortController();
  const waiting = job(url, { leave: control.signal });
  await until(() => net.asked.length);
  control.abort(new Error("gone"));
  assert.equal((await caught(waiting)).message, "gone");
  await served.open(`${gate}end`);

  assert.equal(await job(url, { keep: true }), 0);
  assert.deepEqual(net.of("DELETE"), []);
});

test("a token goes with changes, and only with them", async (t) => {
  const own = await Served.make(t, { csrf: "X-Shop-Token" });
  const net = await Network.make(t, own);
  const url = await net.schedule("walk", "gate", 0);
  const refused = await caught(cancel(url));
  assert.equal(refused.type, "PageOutdated");
  assert.equal(refused.message, "This page is out of date; reload it.");

  const changeHeaders = { "X-Shop-Token": "t", Cookie: "csrf_token=t" };
  changeHeaders.Origin = net.url;
  assert.equal((await cancel(url, { changeHeaders })).state, "cancelled");
  for (const { headers } of net.of("GET")) {
    assert.equal(headers["x-shop-token"], undefined);
  }
});

test("what cannot be asked for is an error at once", async () => {
  for (const url of [null, "", "http://["]) {
    assert.equal((await caught(job(url))).name, "TypeError");
  }
  const odd = job("http://127.0.0.1:1/jobs/%zz");
  assert.equal((await caught(odd)).name, "URIError");
  const headers = { "no name": "1" };
  for (const options of [
    { headers },
    { changeHeaders: headers },
    { credentials: "always" },
  ]) {
    const wrong = job("http://127.0.0.1:1/jobs/1", options);
    assert.equal((await caught(wrong)).name, "TypeError");
  }
});

test("a process ends when nobody waits any more", async () => {
  const url = await served.schedule(served.url, "add", 1);
  const program = `
    import { job } from "pyramid-zodb-async";
    console.log(await job("${url}"));
  `;
  const node = ["--input-type=module", "--eval", program];
  const { stdout } = await promisify(execFile)(process.execPath, node, {
    timeout: 60_000,
  });

  assert.equal(stdout, "2\n");
});
