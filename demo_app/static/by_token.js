/** A page that uses no cookie: each request has a token that soon expires. */

import { JobError } from "pyramid_zodb_async/jobs.js";

const place = document.getElementById("by-token");
const start = place.querySelector("button");
const element = place.querySelector("job-progress");
const message = place.querySelector("[role=status]");
const count = place.querySelector("output");
const verse = "Tiger, tiger, burning bright\n";

let token = null;
let taken = 0;

/**
 * Give the headers of a request. The element asks before each one, and once
 * more if the answer is 401; job() of jobs.js would as well.
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
  // a JobError ends the waiting; after any other, it asks again later
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

element.headers = headers;
element.credentials = "omit";

element.addEventListener("job-outcome", ({ detail }) => {
  if (detail.state === "succeeded") {
    const [[word, times]] = detail.result;
    message.textContent = `The most frequent word is “${word}”: ${times} times.`;
  }
  start.hidden = false;
});

start.addEventListener("click", async () => {
  start.hidden = true;
  message.textContent = "Handing in.";
  try {
    element.src = await handIn();
    message.textContent = "";
  } catch (error) {
    message.textContent = error.message;
    start.hidden = false;
  }
});
