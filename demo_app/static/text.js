/** The page of a text: follow its job, then show what the job found. */

import { job } from "pyramid_zodb_async/jobs.js";

const status = document.getElementById("status");
const title = document.title;

follow();

async function follow() {
  const analysis = document.getElementById("analysis");
  if (!analysis.dataset.job) {
    return;
  }
  try {
    const [first] = await job(analysis.dataset.job, { onProgress: show });
    say(first ? `Done. The most frequent word is ${first[0]}.` : "Done.");
  } catch (error) {
    say(error.message);
    if (error.type === "Unreachable") {
      document.getElementById("message").textContent = error.message;
      return;
    }
  } finally {
    document.title = title;
  }
  await exchange(analysis);
}

/** Show how far the job is; speak of it only now and then. */
function show({ progress, done }) {
  if (!progress?.total || done) {
    return;
  }
  const part = progress.done / progress.total;
  const percent = `${Math.floor(100 * part)} %`;
  document.getElementById("bar").value = part;
  document.getElementById("percent").textContent = percent;
  document.getElementById("message").textContent = progress.message ?? "";
  document.title = `${percent} – ${title}`;
  say(`${25 * Math.floor(4 * part)} % read`);
}

function say(text) {
  if (status.textContent !== text) {
    status.textContent = text;
  }
}

/** Let the server draw: it does so for those without JavaScript as well. */
async function exchange(analysis) {
  try {
    const answer = await fetch(location, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(
      await answer.text(),
      "text/html",
    );
    analysis.replaceWith(page.getElementById("analysis"));
  } catch {
    location.reload();
    return;
  }
  // Somebody may have started another analysis in the meantime.
  follow();
}
