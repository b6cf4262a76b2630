"""A job forks; its children tell of progress, and ask whether to go on."""

import multiprocessing
import os
import sys

from pyramid.config import Configurator
from webtest import TestApp

from pyramid_zodb_async import current_job
from pyramid_zodb_async.testing import wait_for


def tell(how):
    """Do as jobs do, in a child; return what came of it."""
    job = current_job()
    try:
        if how == "check":
            job.check()
        elif how == "progress":
            job.progress(5, 10, "of the child")
        else:
            list(job.track([1]))
    except RuntimeError as error:
        return f"{job.sid} refused: {error}"
    return "nothing happened"


def work(how):
    """Fork in three ways, and report before and after."""
    job = current_job()
    job.progress(1, 2)
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        told = pool.map(tell, [how] * 2)
    job.progress(2, 2)
    return job.sid, told


def main(keeper, how, folder):
    """Run one such job, and print what its children told."""
    settings = {"zodb_async.scheduler": keeper}
    settings["zodbconn.uri"] = f"file://{folder}/Data.fs"
    with Configurator(settings=settings) as config:
        for include in (
            "pyramid_tm",
            "pyramid_zodbconn",
            "pyramid_zodb_async",
        ):
            config.include(include)
        config.add_route("view", "/view")
        config.add_view(
            lambda request: request.accepted(request.schedule(work, how)),
            route_name="view",
        )
        app = TestApp(config.make_wsgi_app())
    view = wait_for(app, app.get("/view").json["sid"])
    sid, told = view.result
    assert view.progress.done == 2
    for line in told:
        print(line.replace(sid, "the job"))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    # by its name, as jobs are found
    import fork_in_job

    fork_in_job.main(*sys.argv[1:])
