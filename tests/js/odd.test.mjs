/** Servers, proxies and pages that do what few of them do. */

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { test } from "node:test";

import { cancel, job, retry } from "pyramid-zodb-async";

import { until } from "./served.mjs";

const RUNNING = { sid: "1", state: "running", done: false, attempt: 1 };
const RESULT = {
  sid: "1",
  state: "succeeded",
  done: true,
  result: 42,
  version: 2 ** 32,
};
const GONE = { jobs: [{ sid: "1", status: 404 }] };

const running = (version) => ({ ...RUNNING, version });

const caught = (promise) => promise.then(assert.fail, (error) => error);

const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time));

/** Serve what `take` says; it gets the request, and what answers in JSON. */
async function serve(t, take) {
  const asked = [];
  const server = http.createServer((request, response) => {
    asked.push(request);
    const json = (body, status = 200, headers = {}) =>
      response
        .writeHead(status, { "Retry-After": "0", ...headers })
        .end(JSON.stringify(body));
    take(request, json, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${server.address().port}/jobs/1`;
  const of = (name) => asked.filter(({ method }) => method === name);
  return { asked, of, url };
}

const isOfSeveral = ({ url }) => url.includes("?");

const page = (response, status) =>
  response.writeHead(status, { "Content-Type": "text/html" }).end("<p>");

test("a function whose headers are malformed is an error", async (t) => {
  const { asked, url } = await serve(t, (_, json) => json(RESULT));
  for (const headers of [
    () => ({ "no name": "1" }),
    async () => ({ Authorization: "Bearer a\nb" }),
    () => 7,
  ]) {
    for (const ask of [job, cancel]) {
      assert.equal((await caught(ask(url, { headers }))).name, "TypeError");
    }
  }
  assert.deepEqual(asked, []);
});

test("headers stay as they were given", async (t) => {
  let looks = 0;
  const { asked, url } = await serve(t, (_, json) =>
    json((looks += 1) < 3 ? running(looks) : RESULT),
  );
  const headers = new Headers({ Authorization: "ann" });
  const waiting = job(url, { headers, keep: true });
  headers.set("Authorization", "bob");
  assert.equal(await waiting, 42);
  const once = new Map([["Authorization", "ann"]]).entries();

  assert.equal(await job(url, { headers: once, keep: true }), 42);
  for (const { headers } of asked) {
    assert.equal(headers.authorization, "ann");
  }
});

test("slow headers bring no two requests closer together", async (t) => {
  let looks = 0;
  const { url } = await serve(t, (_, json) =>
    json((looks += 1) < 4 ? running(looks) : RESULT),
  );
  const times = [];
  const own = (request) => {
    times.push(performance.now());
    return fetch(request);
  };
  const delays = [180, 0, 180, 0];
  const headers = () => sleep(delays.shift());
  const options = { fetch: own, headers, keep: true, onProgress: () => null };

  assert.equal(await job(url, options), 42);
  times.slice(1).forEach((at, i) => {
    assert(at - times[i] > 199, `${at - times[i]} ms`);
  });
});

test("what may be held is so from when it is sent", async (t) => {
  let looks = 0;
  const { url } = await serve(t, async (_, json) => {
    looks += 1;
    if (looks === 2) {
      await sleep(9_900);
    }
    json(looks < 3 ? running(1) : RESULT);
  });
  const told = [];
  const onConnection = (isConnected) => told.push(isConnected);
  const headers = () => sleep(looks === 1 ? 3_500 : 0);
  const options = { headers, keep: true, onConnection, onProgress: () => null };

  assert.equal(await job(url, options), 42);
  assert.equal(looks, 3);
  assert.deepEqual(told, []);
});

test("a fetch that throws at once is no answer", async (t) => {
  const { asked, url } = await serve(t, (_, json) => json(RESULT));
  let calls = 0;
  const own = (request) => {
    if ((calls += 1) < 2) {
      throw new Error("not now");
    }
    return fetch(request);
  };

  assert.equal(await job(url, { fetch: own, keep: true }), 42);
  assert.equal(asked.length, 1);
});

test("an answer that comes slowly is no lost connection", async (t) => {
  const { url } = await serve(t, async (_, __, response) => {
    const text = JSON.stringify(RESULT);
    response.writeHead(200);
    for (const part of text.match(/.{1,9}/g)) {
      response.write(part);
      await sleep(500);
    }
    response.end();
  });
  const told = [];
  const onConnection = (isConnected) => told.push(isConnected);
  const onProgress = () => null;

  assert.equal(await job(url, { keep: true, onConnection, onProgress }), 42);
  assert.deepEqual(told, []);
});

test("what others answer in place of the server is no answer", async (t) => {
  for (const status of [200, 429, 500]) {
    let looks = 0;
    const { url } = await serve(t, (_, json, response) => {
      looks += 1;
      if (looks > 1 && looks < 5) {
        page(response, status);
      } else {
        json(looks === 1 ? running(1) : RESULT);
      }
    });
    const told = [];
    const onConnection = (isConnected) => told.push(isConnected);
    const onProgress = () => null;

    assert.equal(await job(url, { keep: true, onConnection, onProgress }), 42);
    assert.deepEqual(told, [false, true]);
  }
});

test("a problem of the server itself is one", async (t) => {
  let looks = 0;
  const { url } = await serve(t, (_, json) =>
    (looks += 1) < 4 ? json({ title: "Busy" }, 503) : json(RESULT),
  );
  const told = [];
  const onConnection = (isConnected) => told.push(isConnected);

  assert.equal(await job(url, { keep: true, onConnection }), 42);
  assert.deepEqual(told, []);
});

for (const ask of [cancel, retry]) {
  test(`a job that ${ask.name} finds a moment later`, async (t) => {
    let looks = 0;
    const { asked, url } = await serve(t, (request, json) => {
      looks += 1;
      if (isOfSeveral(request)) {
        json({ jobs: [looks < 4 ? { sid: "1", status: 404 } : running(1)] });
      } else if (looks < 4) {
        json({}, 404);
      } else {
        json(RESULT, 202);
      }
    });

    assert.equal((await ask(url, { keep: true }))?.result ?? 42, 42);
    const ways = asked.map(({ method, url }) => `${method} ${url}`);
    assert.equal(ways.filter((way) => way === ways[0]).length, 2);
    assert.equal(ways[1], "GET /jobs?sid=1");
  });

  test(`${ask.name} finds it where several are not asked for`, async (t) => {
    let looks = 0;
    const { url } = await serve(t, (request, json, response) => {
      if (isOfSeveral(request)) {
        page(response, 404);
      } else {
        json(...((looks += 1) < 3 ? [{}, 404] : [RESULT, 202]));
      }
    });

    assert.equal((await ask(url, { keep: true }))?.result ?? 42, 42);
  });
}

test("a redirect to a login that answers in JSON ends it", async (t) => {
  const { url } = await serve(t, (request, json) => {
    if (request.url === "/login") {
      json({ login: true });
    } else {
      json({}, 302, { Location: "/login" });
    }
  });
  const leave = AbortSignal.timeout(30_000);

  assert.equal((await caught(job(url, { leave }))).type, "LoginEnded");
});

test("a fresh job is found where several are not asked for", async (t) => {
  const looks = [];
  const { url } = await serve(t, (request, json, response) => {
    if (isOfSeveral(request)) {
      page(response, 404);
    } else {
      looks.push(request);
      json(...(looks.length < 2 ? [{}, 404] : [RESULT]));
    }
  });

  assert.equal(await job(url, { keep: true }), 42);
});

test("one is unknown where several are another page", async (t) => {
  const { url } = await serve(t, (request, json, response) => {
    if (isOfSeveral(request)) {
      page(response, 200);
    } else {
      json({}, 404);
    }
  });
  const leave = AbortSignal.timeout(30_000);

  assert.equal((await caught(job(url, { leave }))).type, "UnknownJob");
});

test("what a tab tells is not for a user who cannot see it", async (t) => {
  const { asked, url } = await serve(t, () => null);
  const channel = new BroadcastChannel("pyramid_zodb_async");
  t.after(() => channel.close());
  const control = new AbortController();
  const seen = [];
  const options = { leave: control.signal, onProgress: (it) => seen.push(it) };
  const headers = { Authorization: "bob" };
  const bobs = job(url, { ...options, headers });
  const others = job(url, { keep: true });
  await until(() => asked.length === 2);
  channel.postMessage([url, RESULT, true]);
  channel.postMessage([url, RESULT]);

  assert.equal(await others, 42, "cookies are the same in all tabs");
  control.abort(new Error("gone"));
  assert.equal((await caught(bobs)).message, "gone");
  assert.deepEqual(seen, []);
});

test("who keeps a result keeps it for all in the page", async (t) => {
  let isOver = false;
  const { of, url } = await serve(t, (_, json) =>
    json(isOver ? RESULT : running(1)),
  );
  const seen = [];
  const onProgress = ({ done }) => done || seen.push(done);
  const waiting = [false, true, false].map((keep) =>
    job(url, { headers: () => undefined, keep, onProgress }),
  );
  await until(() => seen.length === 3);
  isOver = true;

  assert.deepEqual(await Promise.all(waiting), [42, 42, 42]);
  // what would be sent is sent before the result is told
  assert.equal(await job(url, { keep: true }), 42);
  assert.deepEqual(of("DELETE"), []);
});

test("all in the page hear before a job is forgotten", async (t) => {
  let isOver = false;
  const isForgotten = () => of("DELETE").length > 0;
  const { of, url } = await serve(t, (request, json) => {
    const isLate = request.headers["x-late"];
    if (request.method === "DELETE" || isForgotten()) {
      json(...(isOfSeveral(request) ? [GONE] : [{}, 404]));
    } else {
      json(isOver && !isLate ? RESULT : running(1));
    }
  });
  const seen = [];
  const onProgress = ({ done }) => done || seen.push(done);
  const waiting = [{}, { "X-Late": "1" }].map((headers) =>
    job(url, { headers: () => headers, onProgress }),
  );
  await until(() => seen.length === 2);
  isOver = true;

  assert.deepEqual(await Promise.all(waiting), [42, 42]);
  await until(isForgotten);
});

test("a proxy that refuses each cancel by itself ends it", async (t) => {
  const { of, url } = await serve(t, (request, json, response) => {
    if (request.method === "DELETE") {
      page(response, 412);
    } else {
      json(running(1));
    }
  });
  const error = await caught(cancel(url));

  assert.equal(error.type, "HTTPError");
  assert.match(error.message, /412/);
  assert.equal(of("DELETE").length, 1);
});

test("a cancel whose tag never fits ends after a few tries", async (t) => {
  let changes = 0;
  const { of, url } = await serve(t, ({ method }, json) =>
    json(running((changes += 1)), method === "DELETE" ? 412 : 200),
  );
  const error = await caught(cancel(url));

  assert.equal(error.type, "HTTPError");
  assert.match(error.message, /412/);
  assert(of("DELETE").length <= 5);
});
