/** A page that uses no cookie: each request has a token that soon expires. */

import { job, JobError } from "pyramid_zodb_async/jobs.js";

const place = document.getElementById("by-token");
const [start, cancel] = place.querySelectorAll("button");
const bar = place.querySelector("progress");
const message = place.querySelector("[role=status]");
const count = place.querySelector("output");
const verse = "Tiger, tiger, burning bright\n";

let token = null;
let taken = 0;

/**
 * Give the headers of a request. jobs.js asks before each one, and once more
 * if the answer is 401.
 */
async function headers() {
  if (!token || performance.now() > token.until) {
    token = await takeToken();
  }
  return { Authorization: `Bearer ${token.text}` };
}

/** Get a token from what knows the login; here a cookie is that. */
async function takeToken() {
  const began = performance.now();
  const csrf = document.querySelector('meta[name="csrf-token"]').content;
  const answer = await fetch(place.dataset.tokens, {
    method: "POST",
    headers: { Accept: "application/json", "X-CSRF-Token": csrf },
  });
  // a JobError ends the waiting; after any other, jobs.js asks again later
  if (answer.status === 401) {
    throw new JobError("Your login has ended.", { type: "LoginEnded" });
  }
  if (answer.status === 400) {
    const says = "This page is out of date; reload it.";
    throw new JobError(says, { type: "PageOutdated" });
  }
  if (!answer.ok) {
    throw new Error(`There is no token: ${answer.status}.`);
  }
  const { token: text, expires_in: seconds } = await answer.json();
  taken += 1;
  count.textContent = taken;
  // a little earlier, as the clock of the server began before this one
  return { text, until: began + 900 * seconds };
}

async function handIn() {
  const body = new FormData();
  const times = Math.ceil(place.dataset.size / verse.length);
  body.set("file", new Blob([verse.repeat(times)]), "tiger.txt");
  const answer = await fetch(place.dataset.texts, {
    method: "POST",
    credentials: "omit",
    headers: { Accept: "application/json", ...(await headers()) },
    body,
  });
  if (!answer.ok) {
    throw new Error(`The text was not taken: ${answer.status}.`);
  }
  return answer.headers.get("Location");
}

function show({ progress, state }) {
  if (progress?.total) {
    bar.value = progress.done / progress.total;
  }
  message.textContent =
    progress?.message ?? (state === "pending" ? "Waiting." : "Reading.");
}

start.addEventListener("click", async () => {
  const stop = new AbortController();
  cancel.onclick = () => stop.abort();
  start.hidden = true;
  bar.hidden = cancel.hidden = false;
  bar.removeAttribute("value");
  message.textContent = "Handing in.";
  try {
    const [[word, times]] = await job(await handIn(), {
      headers,
      credentials: "omit",
      signal: stop.signal,
      onProgress: show,
      onConnection: (isConnected) => {
        message.textContent = isConnected
          ? "The server is there again."
          : "No connection; trying again.";
      },
    });
    message.textContent = `The most frequent word is “${word}”: ${times} times.`;
  } catch (error) {
    message.textContent = stop.signal.aborted ? "Cancelled." : error.message;
  }
  start.hidden = false;
  bar.hidden = cancel.hidden = true;
  start.focus();
});
