/** @jsxImportSource preact */
import { useRef } from "preact/hooks";
import "pyramid-zodb-async/job-progress.js";
import type { JobProgress } from "pyramid-zodb-async/job-progress.js";

export function Jobs({ url }: { url: string | null }) {
  const element = useRef<JobProgress>(null);
  return (
    <>
      <job-progress
        src={url}
        key={url}
        ref={element}
        className="job"
        style={{ color: "red" }}
        dir="rtl"
        role="group"
        tabindex={0}
        data-job="1"
        aria-label="Stock"
        text-cancel="Stop"
        headers={{ Authorization: "Bearer token" }}
        onClick={(event) => event.clientX}
        onjob-outcome={({ detail }) => detail.state}
      >
        <span slot="cancel">Stop</span>
      </job-progress>
      {/* @ts-expect-error - there is no such attribute */}
      <job-progress source="/jobs/1" />
    </>
  );
}
