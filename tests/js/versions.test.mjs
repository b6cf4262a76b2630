/** Documents that arrive out of order: a client never goes back. */

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { test } from "node:test";

import { cancel, job, retry } from "pyramid-zodb-async";

import { until } from "./served.mjs";

const RUN = 2 ** 33; // what a retry or another process adds to a version
const END = 2 ** 32;

const RESULT = { state: "succeeded", done: true, result: 42 };
const FAILED = { state: "failed", done: true, error: { title: "It failed" } };
const CANCELLED = { state: "cancelled", done: true };

/** Make a document; one without a version is of a server of before. */
const running = (version, done) => ({
  state: "running",
  done: false,
  attempt: 1,
  progress: { done: done ?? version, total: null, message: null },
  version,
});

/** A server whose answers a test gives; the last one of a method stays. */
class Scripted {
  asked = [];

  constructor(answers) {
    this.answers = answers;
  }

  static async make(t, answers) {
    const scripted = new Scripted(answers);
    const server = http.createServer((...args) => scripted.take(...args));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    scripted.url = `http://127.0.0.1:${server.address().port}/jobs`;
    return scripted;
  }

  take({ method, url, headers: sent }, response) {
    this.asked.push({ method, url, sent });
    const answers = this.answers[method];
    const next = answers.length > 1 ? answers.shift() : answers[0];
    const { status = 200, tag, ...body } = next;
    const headers = { "Retry-After": "0", ...(tag && { ETag: tag }) };
    response.writeHead(status, headers);
    response.end(JSON.stringify(body));
  }

  of(method) {
    return this.asked.filter((asked) => asked.method === method);
  }
}

/** Wait for a job, and give what came of it and what was shown before. */
function follow(url, options) {
  const shown = [];
  const onProgress = (document) => shown.push(document);
  const waiting = job(url, { keep: true, onProgress, ...options });
  waiting.catch(() => null);
  const versions = () => shown.map(({ version }) => version);
  return { shown, versions, waiting };
}

const caught = (promise) => promise.then(assert.fail, (error) => error);

test("what is older than what was shown is not shown", async (t) => {
  const { url } = await Scripted.make(t, {
    GET: [
      { ...running(0), state: "pending" },
      running(3),
      running(1),
      running(2),
      running(5),
      running(3),
      { ...RESULT, version: END },
    ],
  });
  const { waiting, versions } = follow(`${url}/1`);

  assert.equal(await waiting, 42);
  assert.deepEqual(versions(), [0, 3, 5, END]);
});

test("the same version is shown once, whatever else differs", async (t) => {
  const { url } = await Scripted.make(t, {
    GET: [running(3), running(3, 7), { ...RESULT, version: END }],
  });
  const { waiting, versions } = follow(`${url}/1`);

  assert.equal(await waiting, 42);
  assert.deepEqual(versions(), [3, END]);
});

test("a job may go back to pending, in the same attempt", async (t) => {
  const { url } = await Scripted.make(t, {
    GET: [
      running(2),
      { ...running(3), state: "pending", progress: null },
      running(4, 1),
      { ...RESULT, version: END },
    ],
  });
  const { shown, waiting } = follow(`${url}/1`);

  assert.equal(await waiting, 42);
  assert.deepEqual(
    shown.map(({ state }) => state),
    ["running", "pending", "running", "succeeded"],
  );
});

test("the end of an earlier run is not the end", async (t) => {
  const { url } = await Scripted.make(t, {
    GET: [
      { ...FAILED, version: END },
      running(RUN + 1),
      { ...FAILED, version: END },
      { ...RESULT, version: RUN + END },
    ],
    POST: [{ ...running(RUN), state: "pending", status: 202 }],
  });
  const shown = [];
  const onProgress = ({ version }) => shown.push(version);

  assert.equal(await retry(`${url}/1`, { keep: true, onProgress }), 42);
  assert.deepEqual(shown, [RUN, RUN + 1, RUN + END]);
});

test("nor is it when it comes first after a retry", async (t) => {
  const { url } = await Scripted.make(t, {
    GET: [
      { ...FAILED, version: END },
      { ...RESULT, version: RUN + END },
    ],
    POST: [{ ...running(RUN), state: "pending", status: 202 }],
  });

  assert.equal(await retry(`${url}/1`, { keep: true }), 42);
});

test("of several jobs each keeps its own order", async (t) => {
  const ended = { ...RESULT, version: END };
  const { url } = await Scripted.make(t, {
    GET: [
      { jobs: [running(3), running(1)] },
      { jobs: [running(2), running(4)] },
      { jobs: [running(6), running(2)] },
      { jobs: [ended, ended] },
    ],
  });
  const [one, two] = [follow(`${url}/1`), follow(`${url}/2`)];

  assert.deepEqual(await Promise.all([one.waiting, two.waiting]), [42, 42]);
  assert.deepEqual(one.versions(), [3, 6, END]);
  assert.deepEqual(two.versions(), [1, 4, END]);
});

test("a cancel is not answered by the end of an earlier run", async (t) => {
  const server = await Scripted.make(t, {
    GET: [running(RUN + 1)],
    DELETE: [
      { ...FAILED, version: END, status: 412 },
      { ...CANCELLED, version: RUN + END, status: 202 },
    ],
  });
  const { shown, versions, waiting } = follow(`${server.url}/1`);
  await until(() => shown.length);

  assert.equal((await cancel(`${server.url}/1`)).state, "cancelled");
  assert.equal((await caught(waiting)).document.state, "cancelled");
  assert.deepEqual(versions(), [RUN + 1, RUN + END]);
  for (const { sent } of server.of("DELETE")) {
    assert.equal(sent["if-match"], `"${RUN + 1}"`);
  }
});

test("a cancel that has seen only an earlier run looks again", async (t) => {
  const server = await Scripted.make(t, {
    GET: [{ status: 404 }, { ...FAILED, version: END }, running(RUN + 1)],
    DELETE: [{ ...CANCELLED, version: RUN + END, status: 202 }],
  });
  const channel = new BroadcastChannel("pyramid_zodb_async");
  t.after(() => channel.close());
  const { shown, waiting } = follow(`${server.url}/1`);
  channel.postMessage([`${server.url}/1`, running(RUN)]);
  await until(() => shown.length);
  // the watch has no tag: the job was missing, and another tab tells none
  const ended = cancel(`${server.url}/1`);

  assert.equal((await ended).version, RUN + END);
  assert.equal((await caught(waiting)).document.version, RUN + END);
  for (const { sent } of server.of("DELETE")) {
    assert(sent["if-match"], "it might have forgotten the job");
  }
});

test("a retry that comes too late does not go back", async (t) => {
  const server = await Scripted.make(t, {
    GET: [
      running(RUN + 1),
      running(RUN + 1),
      { ...RESULT, version: RUN + END },
    ],
    POST: [{ ...FAILED, version: END, status: 409 }],
  });
  const { shown, versions, waiting } = follow(`${server.url}/1`);
  await until(() => shown.length);

  assert.equal(await retry(`${server.url}/1`, { keep: true }), 42);
  assert.equal(await waiting, 42);
  assert.deepEqual(versions(), [RUN + 1, RUN + END]);
});

test("what another tab tells may be old as well", async (t) => {
  const server = await Scripted.make(t, { GET: [running(RUN + 1)] });
  const { shown, versions, waiting } = follow(`${server.url}/1`);
  await until(() => shown.length);
  const channel = new BroadcastChannel("pyramid_zodb_async");
  t.after(() => channel.close());
  const tell = (version) => {
    const document = { ...RESULT, result: version, version };
    channel.postMessage([`${server.url}/1`, document]);
  };
  tell(END);
  tell(RUN + END);

  assert.equal(await waiting, RUN + END);
  assert.deepEqual(versions(), [RUN + 1, RUN + END]);
});

test("documents without a version are told apart as before", async (t) => {
  const { url } = await Scripted.make(t, {
    GET: [
      { ...running(), state: "pending", attempt: 0 },
      running(undefined, 5),
      { ...running(), state: "pending", attempt: 0 },
      running(undefined, 6),
      RESULT,
    ],
  });
  const { shown, waiting } = follow(`${url}/1`);

  assert.equal(await waiting, 42);
  assert.deepEqual(
    shown.map(({ progress }) => progress?.done),
    [undefined, 5, 6, undefined],
  );
});

test("one without a version leads back behind no other", async (t) => {
  const { url } = await Scripted.make(t, {
    GET: [
      running(undefined, 1),
      running(4),
      running(undefined, 6),
      running(3),
      running(4),
      running(7),
      RESULT,
    ],
  });
  const { shown, waiting } = follow(`${url}/1`);

  assert.equal(await waiting, 42);
  assert.deepEqual(
    shown.map(({ progress }) => progress?.done),
    [1, 4, 6, 7, undefined],
  );
});

test("what is known is told by its version, whatever the tag", async (t) => {
  const server = await Scripted.make(t, {
    GET: [
      { ...running(0), tag: 'W/"0-gzip"' },
      { jobs: [running(5), running(6)], tag: '"5_6-gzip"' },
      { jobs: [running(4), running(8)], tag: '"4_8"' },
      { jobs: [running(4), { ...RESULT, version: END }] },
      { ...RESULT, version: END, tag: '"compressed"' },
    ],
    DELETE: [{ status: 204 }],
  });
  const one = follow(`${server.url}/1`, { keep: false });
  await until(() => one.shown.length);
  const two = follow(`${server.url}/2`);

  assert.deepEqual(await Promise.all([one.waiting, two.waiting]), [42, 42]);
  await until(() => server.of("DELETE").length);
  const known = server.of("GET").map(({ sent }) => sent["if-none-match"]);
  assert.deepEqual(known.slice(0, 2), [undefined, known[1]]);
  assert.deepEqual(known.slice(2), ['"5_6"', '"5_8"', '"5"']);
  assert.equal(server.of("DELETE")[0].sent["if-match"], `"${END}"`);
});

test("a cancel that is refused for ever ends with an error", async (t) => {
  const server = await Scripted.make(t, {
    GET: [running(1)],
    DELETE: [{ status: 412, ...running(1) }],
  });
  const error = await caught(cancel(`${server.url}/1`));

  assert.equal(error.type, "HTTPError");
  assert.match(error.message, /412/);
  const sent = server.of("DELETE").map((asked) => asked.sent["if-match"]);
  assert.deepEqual(sent, Array(5).fill('"1"'));
});

test("whatever was done to tags, a cancel names the version", async (t) => {
  for (const tag of ['"1-gzip"', 'W/"1"', '"a-hash-of-the-body"']) {
    const server = await Scripted.make(t, {
      GET: [{ ...running(1), tag }],
      DELETE: [{ status: 202, ...CANCELLED, version: END }],
    });

    assert.equal((await cancel(`${server.url}/1`)).state, "cancelled");
    const [{ sent }] = server.of("DELETE");
    assert.equal(sent["if-match"], '"1"');
  }
});
