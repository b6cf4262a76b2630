/** @jsxImportSource solid-js */
import { createSignal } from "solid-js";
import "pyramid-zodb-async/job-progress.js";

export function Jobs(props: { url: string | null }) {
  const [state, setState] = createSignal<string>();
  return (
    <>
      <job-progress
        src={props.url}
        class="job"
        dir="rtl"
        onClick={(event) => event.clientX}
        onjob-outcome={({ detail }) => setState(detail.state)}
      >
        {state()}
      </job-progress>
      {/* @ts-expect-error - there is no such attribute */}
      <job-progress source="/jobs/1" />
    </>
  );
}
