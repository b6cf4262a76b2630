/** Who asks, by what the page sends; and whether there is a connection. */

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { JobError, cancel, job, retry } from "pyramid-zodb-async";

import { Network, Served, answer, until } from "./served.mjs";

const served = await Served.make({ after }, { login: "token" });
let gates = 0;

const newGate = () => `gate${(gates += 1)}-`;

const bearer = (token) => ({ Authorization: `Bearer ${token}` });

const caught = (promise) => promise.then(assert.fail, (error) => error);

/** Schedule a job of a user, below the URL of a network of the test's own. */
async function start(t, token, kind, ...args) {
  const net = await Network.make(t, served);
  const response = await fetch(`${net.url}/start/${kind}`, {
    method: "POST",
    headers: bearer(token),
    body: JSON.stringify(args),
  });
  const { sid } = await response.json();
  return { net, url: `${net.url}/jobs/${sid}` };
}

const tokens = (net) => net.asked.map(({ headers }) => headers.authorization);

test("a token goes with each request, also with polls", async (t) => {
  const { net, url } = await start(t, "ann-0", "add", 1);

  assert.equal((await caught(job(url))).type, "UnknownJob");
  net.asked.length = 0;
  assert.equal(await job(url, { headers: bearer("ann-0") }), 2);
  await until(() => net.of("DELETE").length);
  assert.deepEqual(new Set(tokens(net)), new Set(["Bearer ann-0"]));
});

test("a function is asked for the headers of each request", async (t) => {
  const gate = newGate();
  const { net, url } = await start(t, "ann-0", "walk", gate, 2);
  let asked = 0;
  const headers = async () => bearer(`ann-${gate}${(asked += 1)}`);
  const seen = [];
  const onProgress = (news) => seen.push(news);
  const waiting = job(url, { headers, onProgress });
  await served.open(`${gate}1`);
  await until(() => seen.at(-1)?.progress);
  await served.open(`${gate}2`, `${gate}end`);

  assert.equal(await waiting, 2);
  await until(() => net.of("DELETE").length);
  const sent = tokens(net);
  assert(sent.length > 2);
  assert.equal(new Set(sent).size, sent.length);
});

test("after a 401 the function is asked once more", async (t) => {
  const gate = newGate();
  const { net, url } = await start(t, "ann-0", "add", 1);
  let token = `ann-${gate}old`;
  await served.open(token);
  const given = [];
  const headers = () => {
    given.push(token);
    const now = bearer(token);
    token = `ann-${gate}new`;
    return now;
  };

  assert.equal(await job(url, { headers, keep: true }), 2);
  assert.deepEqual(given, [`ann-${gate}old`, `ann-${gate}new`]);
  assert.equal(net.asked.length, 2);
});

test("a login that has ended is told after that, at once", async (t) => {
  const gate = newGate();
  const { net, url } = await start(t, "ann-0", "add", 1);
  await served.open(`ann-${gate}`);
  const ended = bearer(`ann-${gate}`);
  for (const [headers, requests] of [
    [ended, 1],
    [() => ended, 2],
  ]) {
    for (const ask of [job, cancel, retry]) {
      net.asked.length = 0;
      const error = await caught(ask(url, { headers }));

      assert.equal(error.type, "LoginEnded");
      assert.equal(net.asked.length, requests);
    }
  }
});

test("a change has a token too, and is made once", async (t) => {
  const { net, url } = await start(t, "ann-0", "walk", newGate(), 0);
  const headers = async () => new Headers(bearer("ann-0"));

  assert.equal((await cancel(url, { headers })).state, "cancelled");
  assert.equal(net.of("DELETE").length, 1);
  assert.equal((await caught(cancel(url))).type, "UnknownJob");
});

test("a function that fails for a while ends no waiting", async (t) => {
  const { url } = await start(t, "ann-0", "add", 1);
  const reports = t.mock.method(console, "error", () => null);
  let failures = 0;
  const headers = () => {
    if ((failures += 1) < 3) {
      throw new TypeError("the server of tokens is away");
    }
    return bearer("ann-0");
  };

  assert.equal(await job(url, { headers }), 2);
  assert.equal(reports.mock.callCount(), 1);
});

test("a function may say that nobody is to ask again", async (t) => {
  const { net, url } = await start(t, "ann-0", "add", 1);
  const ended = new JobError("Please log in.", { type: "LoginEnded" });
  const headers = async () => {
    throw ended;
  };
  for (const ask of [job, cancel, retry]) {
    assert.equal(await caught(ask(url, { headers })), ended);
  }
  assert.deepEqual(net.asked, []);
});

test("who leaves does not wait for a function that never answers", async (t) => {
  const { net, url } = await start(t, "ann-0", "add", 1);
  const control = new AbortController();
  const headers = () => new Promise(() => null);
  const waiting = job(url, { headers, leave: control.signal });
  control.abort(new Error("gone"));

  assert.equal((await caught(waiting)).message, "gone");
  assert.deepEqual(net.asked, []);
});

test("users share no request, and each sees his own", async (t) => {
  const gate = newGate();
  const { net, url } = await start(t, "ann-0", "walk", gate, 0);
  const other = await start(t, "bob-0", "walk", gate, 0);
  const base = net.url;
  const place = `${base}/jobs/${other.url.split("/").pop()}`;
  const waiting = [
    job(url, { headers: bearer("ann-0") }),
    job(place, { headers: bearer("bob-0") }),
    job(place, { headers: new Headers(bearer("bob-0")) }),
    job(url, { headers: bearer("bob-0") }),
  ];
  assert.equal((await caught(waiting.pop())).type, "UnknownJob");
  await served.open(`${gate}end`);

  assert.deepEqual(await Promise.all(waiting), [0, 0, 0]);
  for (const { headers, url } of net.of("GET")) {
    const isBobs = url.includes(place.split("/").pop());
    const whose = isBobs ? "bob" : url.includes("?") ? "bob" : "ann|bob";
    assert.match(headers.authorization, new RegExp(whose));
  }
});

test("an own fetch is used in place of the other", async (t) => {
  const { net, url } = await start(t, "ann-0", "add", 1);
  const asked = [];
  const own = (request) => {
    asked.push(request.method);
    request.headers.set("Authorization", "Bearer ann-0");
    return fetch(request);
  };

  assert.equal(await job(url, { fetch: own }), 2);
  await until(() => net.of("DELETE").length);
  assert.deepEqual(asked, ["GET", "DELETE"]);
});

test("a connection that is lost is told, and that it is back", async (t) => {
  const gate = newGate();
  const { net, url } = await start(t, "ann-0", "walk", gate, 0);
  const headers = bearer("ann-0");
  const told = [];
  const onConnection = (isThere) => told.push(isThere);
  const waiting = job(url, { headers, onConnection });
  await until(() => net.asked.length);
  net.isAway = true;
  await until(() => told.length);
  const late = [];
  const stopping = cancel(url, {
    headers,
    onConnection: (isThere) => late.push(isThere),
  });
  await until(() => late.length);
  assert.deepEqual([told, late], [[false], [false]]);
  net.isAway = false;

  assert.equal((await stopping).state, "cancelled");
  assert.equal((await caught(waiting)).type, "JobCancelled");
  assert.deepEqual([told, late], [
    [false, true],
    [false, true],
  ]);
});

test("a proxy whose server is away is no connection", async (t) => {
  const { net, url } = await start(t, "ann-0", "add", 1);
  const told = [];
  net.faults.push(...Array(3).fill(answer(502)));
  const onConnection = (isThere) => told.push(isThere);

  assert.equal(await job(url, { headers: bearer("ann-0"), onConnection }), 2);
  assert.deepEqual(told, [false, true]);
});

test("who joins while it is lost is told at once", async (t) => {
  const { net, url } = await start(t, "ann-0", "walk", newGate(), 0);
  const options = { headers: bearer("ann-0"), leave: AbortSignal.timeout(9e3) };
  net.isAway = true;
  const told = [];
  const first = job(url, { ...options, onConnection: (is) => told.push(is) });
  await until(() => told.length);
  const second = job(url, { ...options, onConnection: (is) => told.push(is) });

  assert.deepEqual(told, [false, false]);
  await Promise.all([caught(first), caught(second)]);
});
