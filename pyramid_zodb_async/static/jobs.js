/**
 * Waiting in a page (or a worker, or Node) for jobs of pyramid_zodb_async.
 *
 *     import { job, JobError } from "/jobs/static/jobs.js";
 *
 *     const answer = await fetch("/reports", { method: "POST" });
 *     const result = await job(answer.headers.get("Location"), {
 *       onProgress: ({ progress }) => console.log(progress?.message),
 *     });
 *
 * jobs.d.ts beside this file describes all that is exported.
 */

import {
  Access,
  Connection,
  JobError,
  Missing,
  PACE,
  Patience,
  pause,
  quoted,
  refusal,
  versionOf,
} from "./job-requests.js";

export { JobError } from "./job-requests.js";

const WAIT = 10; // in seconds: the server may hold its answer so long
const MOST = 100; // the server tells of so many jobs in one answer
const MOST_REFUSALS = 5; // of a cancel that names what it was told

/** Wait for a job, and give what it returned. */
export async function job(url, options) {
  return wait(...locate(url, options), options);
}

/** Cancel a job; give its last status document, however it ended. */
export async function cancel(url, options) {
  return stop(...locate(url, options), options);
}

/** Have a job that failed run again, and wait for it as `job` does. */
export async function retry(url, options) {
  const [place, access] = locate(url, options);
  const again = new URL(place);
  again.pathname += "/retry";
  const patience = new Patience();
  const connection = connectionOf(options);
  try {
    // it is the end that is seen now after which it is to run again, and once:
    // where the answer to that is lost, it may have failed once more
    for (let seen; ; ) {
      options?.leave?.throwIfAborted();
      const { version } = seen ?? {};
      const answer = seen
        ? await access.change(again, "POST", { ...options, connection, version })
        : await access.ask(place, { connection });
      // a 409 or a 412 tells that somebody else was faster, or how it has ended
      if (answer.document && (seen || !answer.document.done)) {
        return wait(place, access, options, answer);
      }
      if (answer.document) {
        seen = answer;
      } else {
        await rest(place, access, connection, patience, answer);
      }
    }
  } finally {
    connection.end();
  }
}

/** Pause before the next try; after an answer 404, until there is the job. */
async function rest(place, access, connection, patience, answer) {
  // browsers tell of each answer 404, and there it is part of one that is good
  const all = answer.status === 404 && collectionOf(place);
  let { soonest } = answer;
  for (let isMissing = true; isMissing; ) {
    await pause(patience.after(answer), soonest);
    if (!all) {
      return;
    }
    const url = new URL(all);
    url.searchParams.append("sid", sid(place));
    const found = await access.ask(url, { connection });
    isMissing = found.body?.jobs?.[0]?.status === 404;
    soonest = found.soonest;
  }
  await pause(null, soonest);
}

/** Give where a job is, and how to ask for it. */
function locate(url, options) {
  if (!url) {
    throw new TypeError("No URL of a job; did its answer have a Location?");
  }
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  const place = new URL(url, base);
  place.hash = "";
  const access = new Access(options);
  // if nobody can ask for it, that is to be said at once
  access.request(place);
  new Headers(options?.changeHeaders);
  sid(place);
  return [place, access];
}

/** Give what tells a listener that the connection is lost, or back. */
const connectionOf = (options) =>
  new Connection((isThere) => tell(options?.onConnection, isThere));

// -- What the page waits for --------------------------------------------------

const watches = new Map(); // by who asks, and the URL
const polls = new Set();
let channel = null; // to the other tabs, while there is a watch

const keyOf = (place, access) => `${access.key} ${place.href}`;

function wait(place, access, options = {}, known) {
  const { onProgress, onConnection, signal, leave, keep } = options;
  return new Promise((resolve, reject) => {
    leave?.throwIfAborted();
    const watch = watches.get(keyOf(place, access)) ?? new Watch(place, access);
    const waiter = { onProgress, onConnection, keep, options, settle, fail };
    function end(settled, value) {
      signal?.removeEventListener("abort", onCancel);
      leave?.removeEventListener("abort", onLeave);
      watch.remove(waiter);
      settled(value);
    }
    function settle(document) {
      if (signal?.aborted && document.state === "cancelled") {
        end(reject, signal.reason);
      } else if (isSuccess(document)) {
        end(resolve, document.result);
      } else {
        end(reject, failure(document));
      }
    }
    function fail(error) {
      end(reject, error);
    }
    const { changeHeaders } = options;
    const onCancel = () =>
      void stop(place, access, { changeHeaders }).catch(fail);
    const onLeave = () => end(reject, leave.reason);
    signal?.addEventListener("abort", onCancel);
    leave?.addEventListener("abort", onLeave);
    watch.add(waiter);
    if (known) {
      watch.hear(known.document, known.version);
    }
    if (signal?.aborted) {
      onCancel();
    }
  });
}

/** One job, and all in this page who wait for it and ask for it in one way. */
class Watch {
  shown = null;
  version = null; // the newest that the server has told, as a text
  missing = new Missing();
  #shownVersion;
  #isConnected = true;
  #waiters = new Set();
  #poll;

  constructor(place, access) {
    this.place = place;
    this.access = access;
    watches.set(this.#key, this);
    openChannel();
    this.#poll = join(this);
  }

  get #key() {
    return keyOf(this.place, this.access);
  }

  add(waiter) {
    this.#waiters.add(waiter);
    if (this.shown) {
      tell(waiter.onProgress, this.shown);
    }
    if (!this.#isConnected) {
      tell(waiter.onConnection, false);
    }
  }

  remove(waiter) {
    this.#waiters.delete(waiter);
    if (!this.#waiters.size && watches.get(this.#key) === this) {
      watches.delete(this.#key);
      this.#poll.drop(this);
      closeChannel();
    }
  }

  /** Whether somebody is to be told at once how the job stands. */
  get isWatched() {
    return [...this.#waiters].some(({ onProgress }) => onProgress);
  }

  get isKept() {
    return [...this.#waiters].some(({ keep }) => keep);
  }

  /** Ask for this job by itself from now on. */
  part() {
    this.#poll.drop(this);
    this.#poll = new Poll(undefined, this);
  }

  /** Tell whether there is a connection to the server. */
  connect(isConnected) {
    if (isConnected !== this.#isConnected) {
      this.#isConnected = isConnected;
      this.#waiters.forEach((it) => tell(it.onConnection, isConnected));
    }
  }

  /** Whether a newer one was shown: a process that knew less gave this. */
  isPast({ version }) {
    return version < this.#shownVersion;
  }

  #isNews(document) {
    const isNumbered = document.version >= 0 && this.#shownVersion >= 0;
    return isNumbered
      ? document.version > this.#shownVersion
      : isLaterState(document, this.shown);
  }

  /** Take in what the server or, without a version, another tab has said. */
  hear(document, version, isShared) {
    const waiters = [...this.#waiters];
    this.missing = new Missing();
    if (!isShared) {
      this.connect(true);
    }
    if (this.isPast(document)) {
      return;
    }
    this.version = version ?? this.version;
    if (!waiters.length || !this.#isNews(document)) {
      return;
    }
    this.#shownVersion = document.version ?? this.#shownVersion;
    this.shown = document;
    for (const { onProgress } of waiters) {
      tell(onProgress, document);
    }
    if (document.done) {
      if (isSuccess(document) && !isShared) {
        const it = waiters.find(({ options }) => options.changeHeaders);
        this.#passOn(it?.options.changeHeaders);
      }
      waiters.forEach(({ settle }) => settle(document));
    }
  }

  fail(error) {
    [...this.#waiters].forEach(({ fail }) => fail(error));
  }

  /** Have the server forget the job; others would not find it then. */
  #passOn(changeHeaders) {
    const { access, place, shown, version } = this;
    const message = [place.href, shown, access.isOwn];
    const isKept = watchesOf(place).some((watch) => watch.isKept);
    share(message, this);
    if (!isKept) {
      channel?.postMessage(message);
      void access.change(place, "DELETE", { changeHeaders, version });
    }
  }
}

function openChannel() {
  channel ??= new BroadcastChannel("pyramid_zodb_async");
  channel.onmessage = ({ data }) => share(data);
  channel.unref?.(); // Node may end while it is open
}

const watchesOf = ({ href }) =>
  [...watches.values()].filter(({ place }) => place.href === href);

/** Tell the others. Who is no user of the cookies has to have seen the job. */
function share([href, document, isOwn], from) {
  for (const watch of watchesOf({ href })) {
    if (watch !== from && (watch.shown || !(isOwn || watch.access.isOwn))) {
      watch.hear(document, null, true);
    }
  }
}

function closeChannel() {
  if (!watches.size) {
    channel?.close();
    channel = null;
  }
}

/** Cancel a job that has not ended, and never forget one that has. */
async function stop(place, access, options) {
  const connection = connectionOf(options);
  const all = { ...options, connection };
  const key = keyOf(place, access);
  const watch = watches.get(key);
  const patience = new Patience();
  let version = watch?.version;
  let isSeen = Boolean(version);
  try {
    for (let refusals = 0; ; ) {
      const answer = isSeen
        ? await access.change(place, "DELETE", { ...all, version })
        : await access.ask(place, { connection });
      if (watch?.shown?.done) {
        return watch.shown;
      }
      const { document } = answer;
      const current = watches.get(key);
      const isPast = document && current?.isPast(document);
      if (document?.done && !isPast) {
        current?.hear(document, answer.version);
        return document;
      }
      if (!document) {
        await rest(place, access, connection, patience, answer);
      } else if (isSeen || isPast) {
        // it was another run that was seen; or somebody in between judges by
        // versions that are none of the job, and would do so for ever
        refusals += 1;
        if (refusals >= MOST_REFUSALS) {
          throw refusal(answer);
        }
        await pause(null, answer.soonest);
      }
      version = (isPast ? current.version : answer.version) ?? version;
      isSeen ||= Boolean(isPast ? version : document);
    }
  } finally {
    connection.end();
  }
}

// -- Requests -----------------------------------------------------------------

/** Asks for some jobs in turn, one request at a time. */
class Poll {
  #access;
  #watches = new Set();
  #collection; // without one, its job is asked for by itself
  #connection = new Connection((isThere) =>
    this.#watches.forEach((watch) => watch.connect(isThere)),
  );
  #patience = new Patience();
  #hurry = null; // ends what is waited for, for the jobs have changed
  #isHurried = false;
  #mayWait; // whether the last request might be held
  #isMissing = false; // whether it was one for a job that was not found alone

  constructor(collection, watch) {
    this.#access = watch.access;
    this.#collection = collection;
    this.#watches.add(watch);
    polls.add(this);
    void this.#run();
  }

  takes(collection, { access, place }) {
    const fits = collection && collection === this.#collection;
    // the server answers for each once; one job may have several URLs
    const isNew = ![...this.#watches].some((it) => sid(it.place) === sid(place));
    const isSame = access.key === this.#access.key;
    return fits && isSame && isNew && this.#watches.size < MOST;
  }

  add(watch) {
    this.#watches.add(watch);
    watch.connect(this.#connection.isThere);
    this.#hasChanged();
  }

  drop(watch) {
    this.#watches.delete(watch);
    if (!this.#watches.size) {
      polls.delete(this);
      this.#hasChanged();
    }
  }

  #hasChanged() {
    this.#isHurried = true;
    this.#hurry?.();
  }

  async #run() {
    // then another request tells more than the one that is held
    const onLine = () => this.#hasChanged();
    globalThis.addEventListener?.("online", onLine);
    globalThis.addEventListener?.("offline", onLine);
    await null; // jobs of the same moment share the first request
    while (this.#watches.size) {
      await this.#look();
    }
    this.#connection.end();
    globalThis.removeEventListener?.("online", onLine);
    globalThis.removeEventListener?.("offline", onLine);
  }

  /** Ask, tell, and pause. */
  async #look() {
    this.#isHurried = false;
    const batch = [...this.#watches];
    const answer = await this.#ask(batch);
    this.#hurry = null;
    // an answer that was cut off says nothing about the server
    const isCut = this.#isHurried && !answer.status;
    const pace = isCut ? 0 : this.#take(answer, batch);
    const isOther = this.#isHurried || this.#watches.size < batch.length;
    if (this.#watches.size) {
      const wake = (hurry) => (this.#hurry = hurry);
      await pause(isOther ? null : pace, answer.soonest, wake);
    }
    this.#hurry = null;
  }

  /** Ask for what differs from what is known, or wait for that. */
  async #ask(batch) {
    const [first, ...others] = batch;
    const versions = batch.map(({ version }) => version);
    const isKnown = versions.every(Boolean);
    // the end of one may be what is not known: no waiting for the others; nor
    // to hear that the connection is there again; nor where nobody looks, as a
    // browser has few connections to a server
    const mayWait =
      !this.#connection.failures &&
      !isHidden() &&
      (isKnown || !(others.length || first.isWatched));
    this.#mayWait = mayWait;
    // browsers tell of each answer 404, and there it is part of one that is good
    this.#isMissing = this.#collection && first.missing.isLate;
    const isShared = others.length > 0 || this.#isMissing;
    const url = new URL(isShared ? this.#collection : first.place);
    if (isShared) {
      batch.forEach(({ place }) => url.searchParams.append("sid", sid(place)));
    }
    const headers = {
      ...(mayWait && { Prefer: `wait=${WAIT}` }),
      ...(isKnown && { "If-None-Match": quoted(versions.join("_")) }),
    };
    const onStart = (hurry) => {
      this.#hurry = () => hurry(this.#watches.size);
    };
    const connection = this.#connection;
    const hold = mayWait ? WAIT * 1_000 : 0;
    return this.#access.ask(url, { connection, headers, hold, onStart });
  }

  /** Tell the jobs what came; give the pause after it. */
  #take({ body, document, ...answer }, batch) {
    const { retryAfter, status, version } = answer;
    const isAlone = batch.length === 1;
    const documents = document ? [document] : body?.jobs;
    const isWhole = documents?.length === batch.length;
    const isGood = status === 200 && isWhole && documents.every(Boolean);
    if (isGood || status === 304) {
      this.#patience = new Patience();
    }
    if (status === 304) {
      batch.forEach((watch) => (watch.missing = new Missing()));
      return this.#mayWait || isHidden() ? (retryAfter ?? PACE) : 0;
    }
    if (!isGood && isAlone && this.#isMissing && isNone(status)) {
      this.#collection = undefined; // it is not there
      return this.#miss(batch[0]);
    }
    if (!isGood && isAlone && status === 404) {
      return this.#miss(batch[0]);
    }
    if (isGood) {
      const versions = document ? [version] : version?.split("_");
      let missing;
      batch.forEach((watch, i) => {
        if (documents[i].status === 404) {
          missing = this.#miss(watch);
        } else if (documents[i].status === 413) {
          watch.part(); // it has ended; the answer would be too large with it
        } else {
          watch.hear(documents[i], versionOf(documents[i], versions?.[i]));
        }
      });
      // from now on the server holds its answers, which is the better pace
      const isStart =
        !this.#mayWait && !isHidden() && batch.every((it) => it.version);
      return missing ?? (isStart ? 0 : (retryAfter ?? PACE));
    }
    return this.#takeBad({ body, ...answer }, isAlone);
  }

  #takeBad(answer, isAlone) {
    try {
      if (answer.status === 404) {
        throw refusal(answer); // several can never be asked for there
      }
      return this.#patience.after(answer);
    } catch (error) {
      // of these each would hear the same by itself
      const isOfAll =
        answer.error || /^(Unreachable|LoginEnded)$/.test(error.type);
      for (const watch of this.#watches) {
        if (isAlone || isOfAll) {
          watch.fail(error);
        } else {
          watch.part();
        }
      }
      return 0;
    }
  }

  #miss(watch) {
    watch.version = null;
    try {
      return watch.missing.pace();
    } catch (error) {
      watch.fail(error);
    }
  }
}

/** Whether this is a page that nobody sees now. */
const isHidden = () => globalThis.document?.hidden;

/** Whether no server of ours gives this status to who asks for several. */
const isNone = (status) => status >= 200 && status < 429 && status !== 401;

/** Find who asks for jobs of the same collection, or make one. */
function join(watch) {
  const collection = collectionOf(watch.place);
  const poll = [...polls].find((each) => each.takes(collection, watch));
  poll?.add(watch);
  return poll ?? new Poll(collection, watch);
}

/** Give the URL at which several jobs are asked for, if there is one. */
const collectionOf = ({ href }) => href.match(/^([^?]+)\/[^/?]+$/)?.[1];

const sid = ({ pathname }) => decodeURIComponent(pathname.split("/").pop());

// -- Status documents ---------------------------------------------------------

/**
 * Tell whether a document says something new if one of the two has no version.
 * Servers of the former build give such ones, while they are being replaced;
 * it can go in the version after 0.1. Progress is the job's own affair: in a
 * second phase it may begin at 0 again.
 */
function isLaterState(document, shown) {
  if (!shown || document.done) {
    return true;
  }
  const [now, before] = [document, shown].map((it) => [
    it.attempt,
    it.state === "pending" ? 0 : 1,
  ]);
  const differing = now.findIndex((value, i) => value !== before[i]);
  if (differing >= 0) {
    return now[differing] > before[differing];
  }
  return JSON.stringify(document.progress) !== JSON.stringify(shown.progress);
}

/** Call the listener; what goes wrong in it is reported, and goes no further. */
async function tell(onProgress, document) {
  try {
    await onProgress?.(document);
  } catch (error) {
    (globalThis.reportError ?? console.error)(error);
  }
}

const isSuccess = ({ state, error }) => state === "succeeded" && !error;

function failure(document) {
  const { error, state } = document;
  return new JobError(error?.detail ?? error?.title ?? `The job ${state}.`, {
    type: error?.type ?? "JobError",
    document,
  });
}
