/** The application of client_app.py in a process, and a network that fails. */

import { spawn } from "node:child_process";
import dgram from "node:dgram";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const TESTS = dirname(dirname(fileURLToPath(import.meta.url)));

/** Wait for a condition, with a deadline. */
export async function until(condition, what = condition) {
  for (const start = performance.now(); ; ) {
    const value = await condition();
    if (value) {
      return value;
    }
    if (performance.now() - start > 60_000) {
      throw new Error(`This did not become true: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/**
 * Give a port that no other test gets, as ports.py does: this process claims
 * the one of the same number in UDP, until it ends.
 */
async function freePort() {
  for (let port = 20_000; port < 32_000; port += 1) {
    const claim = dgram.createSocket("udp4").unref();
    const probe = net.createServer();
    try {
      claim.bind(port, "127.0.0.1");
      await once(claim, "listening");
      probe.listen(port, "127.0.0.1");
      await once(probe, "listening");
      await new Promise((resolve) => probe.close(resolve));
      return port;
    } catch {
      claim.close();
    }
  }
  throw new Error("all ports are taken");
}

/** Serve the application until the test ends; it can be killed and started. */
export class Served {
  static async make(t, settings = {}) {
    const served = new Served();
    served.folder = await mkdtemp(join(tmpdir(), "jobs-"));
    served.settings = JSON.stringify(settings);
    served.port = await freePort();
    t.after(async () => {
      await served.kill();
      await rm(served.folder, { force: true, recursive: true });
    });
    await served.begin();
    return served;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async begin() {
    const said = [];
    this.process = spawn(
      process.env.PYTHON ?? "python3",
      [
        "-m",
        "waitress",
        `--listen=127.0.0.1:${this.port}`,
        "--threads=8",
        // so that it sees when a request that waits is given up
        "--channel-request-lookahead=1",
        "--call",
        "client_app:make_app",
      ],
      {
        cwd: join(TESTS, "support"),
        env: {
          ...process.env,
          CLIENT_FOLDER: this.folder,
          CLIENT_SETTINGS: this.settings,
        },
        stdio: ["ignore", "pipe", "pipe"],
      },
    );
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.on("data", (text) => said.push(text));
    }
    await until(async () => {
      if (this.process.exitCode !== null) {
        throw new Error(said.join(""));
      }
      return fetch(this.url).then(
        () => true,
        () => false,
      );
    });
  }

  async kill() {
    if (this.process.exitCode === null && !this.process.signalCode) {
      const ended = once(this.process, "exit");
      this.process.kill("SIGKILL");
      await ended;
    }
  }

  /** Schedule a job of a kind, and give its URL below `base`. */
  async schedule(base, kind, ...args) {
    const body = JSON.stringify(args);
    const answer = await fetch(`${base}/start/${kind}`, {
      method: "POST",
      body,
    });
    return new URL(answer.headers.get("Location"), base).href;
  }

  /** Let jobs pass that wait at these gates. */
  async open(...gates) {
    for (const gate of gates) {
      await fetch(`${this.url}/open/${gate}`, { method: "POST" });
    }
  }
}

/** Between client and server: it sees all requests, and may harm them. */
export class Network {
  #isAway = false;

  /** Whether nobody is reached; who is held is cut off. */
  get isAway() {
    return this.#isAway;
  }

  set isAway(isAway) {
    this.#isAway = isAway;
    if (isAway) {
      this.server.closeAllConnections();
    }
  }

  static async make(t, served) {
    const network = new Network();
    network.served = served;
    network.asked = [];
    network.faults = [];
    network.server = http.createServer((request, response) =>
      network.take(request, response),
    );
    network.server.listen(0, "127.0.0.1");
    await once(network.server, "listening");
    t.after(() => {
      network.server.closeAllConnections();
      network.server.close();
    });
    return network;
  }

  get url() {
    return `http://127.0.0.1:${this.server.address().port}`;
  }

  schedule(kind, ...args) {
    return this.served.schedule(this.url, kind, ...args);
  }

  /** Give what was asked for with these methods. */
  of(...methods) {
    return this.asked.filter(({ method }) => methods.includes(method));
  }

  take(request, response) {
    const isAboutJobs = request.url.startsWith("/jobs");
    if (isAboutJobs) {
      const { method, url, headers } = request;
      this.asked.push({ method, url, headers, at: performance.now() });
    }
    const harm = isAboutJobs && this.faults.shift();
    if (this.isAway) {
      request.socket.destroy();
    } else if (harm) {
      harm(request, response, this);
    } else {
      this.pass(request, response);
    }
  }

  /** Ask the server, and give its answer through `change`. */
  pass(request, response, change = (from, to) => from.pipe(to)) {
    const { method, url, headers } = request;
    const asking = http.request(
      { host: "127.0.0.1", port: this.served.port, method, path: url, headers },
      (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        change(answer, response);
      },
    );
    asking.on("error", () => response.destroy());
    response.on("close", () => asking.destroy());
    request.pipe(asking);
  }
}

/** The request does not arrive. */
export const loseRequest = (request) => request.socket.destroy();

/** The server does what it is asked to, and nobody hears of it. */
export const loseAnswer = (request, response, network) =>
  network.pass(request, response, (answer) =>
    answer.resume().on("end", () => request.socket.destroy()),
  );

/** Something before the server answers. */
export const answer =
  (status, headers = {}, body = "") =>
  (request, response) => {
    request.resume();
    response.writeHead(status, headers).end(body);
  };

/** The answer takes its time, byte by byte. */
export const drip = (request, response, network) =>
  network.pass(request, response, async (answer, to) => {
    for await (const chunk of answer) {
      for (let i = 0; i < chunk.length; i += 40) {
        to.write(chunk.subarray(i, i + 40));
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
    }
    to.end();
  });

/** Nothing ever comes. */
export const hang = (request) => request.resume();
