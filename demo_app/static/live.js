/** Pages of texts: when a job has ended, show what the server draws of it. */

const status = document.getElementById("status");
const title = document.title;

document.addEventListener("job-progress", ({ target, detail }) => {
  const { progress, done } = detail;
  if (target.closest("#analysis") && progress?.total && !done) {
    const part = Math.floor((100 * progress.done) / progress.total);
    document.title = `${part} % – ${title}`;
  }
});

document.addEventListener("job-outcome", async ({ target, detail }) => {
  document.title = title;
  const part = target.closest("[data-state]");
  // A job that had failed before is there to be retried, and drawn already.
  if (!part || part.dataset.state === detail.state) {
    return;
  }
  const outcome = detail.error?.message ?? "Done.";
  status.textContent = `${target.getAttribute("label")}: ${outcome}`;
  await exchange(part);
});

/** Take a part of the page from the server, which draws all of them. */
async function exchange(part) {
  let page;
  try {
    const answer = await fetch(location, { headers: { Accept: "text/html" } });
    page = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    return; // The element says how the job ended.
  }
  const fresh = page.getElementById(part.id);
  if (!fresh) {
    location.reload(); // Somebody else is logged in by now.
    return;
  }
  const hadFocus = part.contains(document.activeElement);
  part.replaceWith(document.adoptNode(fresh));
  if (hadFocus) {
    fresh.querySelector("a, button, summary")?.focus();
  }
}
