"""The jobs in memory by their sids, apart from those that have ended."""

from .job import Job

__all__ = ["KnownJobs"]


class KnownJobs:
    """The jobs of a table. Its methods need the lock of that."""

    def __init__(self) -> None:
        #: Those that have not ended; a job is here or below.
        self.unfinished: dict[str, Job] = {}
        self.ended: dict[str, Job] = {}
        #: How many of them count against the bound of the queue.
        self.new = 0

    def __len__(self) -> int:
        return len(self.unfinished) + len(self.ended)

    def get(self, sid: str) -> Job | None:
        """Return a job, if there is one.

        Args:
            sid: the sid of the job.
        """
        return self.unfinished.get(sid) or self.ended.get(sid)

    def add(self, job: Job) -> None:
        """Add a job. It is a new one until it begins, unless it is due later.

        Args:
            job: the job, which is pending.
        """
        self.unfinished[job.sid] = job
        job.is_new = job.due is None
        self.new += job.is_new

    def begin(self, job: Job) -> None:
        """Do not count a job as a new one any more.

        Args:
            job: the job, which has not ended.
        """
        self.new -= job.is_new
        job.is_new = False

    def end(self, job: Job) -> None:
        """Note that a job has ended.

        Args:
            job: the job.
        """
        self.begin(job)
        self.ended[job.sid] = self.unfinished.pop(job.sid)

    def reopen(self, job: Job) -> None:
        """Note that a job that had ended is to run again.

        Args:
            job: the job.
        """
        self.unfinished[job.sid] = self.ended.pop(job.sid)

    def remove(self, sid: str) -> Job | None:
        """Remove a job; return it if it had not ended.

        Args:
            sid: the sid of the job.
        """
        self.ended.pop(sid, None)
        job = self.unfinished.pop(sid, None)
        if job is not None:
            self.begin(job)
        return job
