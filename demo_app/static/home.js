/** The first page: check the form, and watch the experiment. */

import { job } from "pyramid_zodb_async/jobs.js";

const file = document.getElementById("file");
file.addEventListener("change", () => {
  const tooLarge = file.files[0]?.size > Number(file.dataset.mostBytes);
  file.setCustomValidity(tooLarge ? "This file is too large." : "");
  file.reportValidity();
});

const outcome = document.getElementById("outcome");
if (outcome.dataset.job) {
  watch(outcome.dataset.job);
}

async function watch(url) {
  try {
    await job(url);
    outcome.textContent = "The job ran, after the commit.";
  } catch (error) {
    outcome.textContent =
      error.type === "UnknownJob"
        ? "Nothing ran. Asked again for a second, the server knew no such job."
        : error.message;
  }
  const answer = await fetch(outcome.dataset.counter, { cache: "no-store" });
  const { value } = await answer.json();
  document.getElementById("counter").textContent = value;
}
