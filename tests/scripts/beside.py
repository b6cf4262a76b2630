"""A script of one of two applications, which has a module of its own.

It schedules a job with a delay, unless it is told of one; waits for it, if it
runs jobs; and tells the job and its state.
"""

import sys
from pkgutil import resolve_name

from pyramid.paster import bootstrap

from pyramid_zodb_async import IScheduler

ini, folder, name, delay, runs_jobs, *sids = sys.argv[1:]
sys.path.insert(0, folder)
with bootstrap(ini) as env:
    request = env["request"]
    if sids:
        (sid,) = sids
    else:
        with request.tm:
            schedule = request.schedule.with_options(delay=float(delay))
            sid = schedule(resolve_name(name))
    if runs_jobs == "yes":
        env["registry"].getUtility(IScheduler).start()
        assert request.jobs.wait(sid, timeout=60)
    with request.tm:
        print(sid, request.jobs.get(sid).state)
