/** The first page: check the form, and watch the experiment. */

import { job } from "pyramid_zodb_async/jobs.js";

const file = document.getElementById("file");
file.addEventListener("change", () => {
  file.setCustomValidity(complaint([...file.files]));
  file.reportValidity();
});

/** Say what is wrong with the files, before they are sent for nothing. */
function complaint(files) {
  const { mostBytes, mostFiles } = file.dataset;
  const empty = files.find(({ size }) => size === 0);
  if (files.length > Number(mostFiles)) {
    return `Choose up to ${mostFiles} files at once.`;
  }
  if (files.reduce((sum, { size }) => sum + size, 0) > Number(mostBytes)) {
    return files.length > 1
      ? "Together, these files are too large."
      : "This file is too large.";
  }
  return empty ? `“${empty.name}” is empty.` : "";
}

const outcome = document.getElementById("outcome");
if (outcome.dataset.job) {
  watch(outcome.dataset.job);
}

async function watch(url) {
  try {
    await job(url, { keep: true }); // the page may be reloaded
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
