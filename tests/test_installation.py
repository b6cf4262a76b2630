"""Tells whether the tests in Zope can run, and what other tests need of it."""

import re
import subprocess
import sys
from importlib.metadata import requires

from needed import HAS_ZOPE, NO_ZOPE, missing
from packaging.requirements import Requirement


def test_the_tests_in_zope_can_run():
    if not HAS_ZOPE:
        missing(NO_ZOPE)


def required(name, extra=""):
    """Give the names of what a distribution needs, and of what that needs."""
    found, waiting = set(), [(name, extra)]
    while waiting:
        name, extra = waiting.pop()
        for line in requires(name) or ():
            needed = Requirement(line)
            if needed.marker and not needed.marker.evaluate({"extra": extra}):
                continue
            key = re.sub(r"[-_.]+", "-", needed.name).lower()
            if key not in found:
                found.add(key)
                waiting += [(key, "")]
            waiting += [(key, more) for more in needed.extras if more != extra]
    return found


def test_the_package_alone_pulls_in_neither_celery_nor_zope():
    found = required("pyramid-zodb-async")

    assert {"pyramid", "zodb", "persistent"} <= found
    assert not found & {"celery", "kombu", "zope", "acquisition"}


def test_the_package_alone_imports_neither_celery_nor_zope():
    look = "import sys, pyramid_zodb_async; print(*sys.modules)"
    said = subprocess.check_output([sys.executable, "-c", look], text=True)

    assert "pyramid_zodb_async.execution.runner" in said.split()
    assert not {"Acquisition", "Zope2", "celery"} & set(said.split())


ALONE = """
import sys

missing = ["Acquisition", "Zope2", "celery", "kombu", "relstorage"]
sys.modules.update(dict.fromkeys(missing))

from pyramid.config import Configurator
from pyramid.response import Response
from webtest import TestApp
from pyramid_zodb_async.testing import drain

with Configurator(settings={"zodbconn.uri": "memory://"}) as config:
    for name in ["pyramid_tm", "pyramid_zodbconn", "pyramid_zodb_async"]:
        config.include(name)
    config.add_route("start", "/start")
    config.add_view(
        lambda request: Response(request.schedule(divmod, 7, 2)),
        route_name="start",
    )
app = TestApp(config.make_wsgi_app())
sid = app.get("/start").text
drain(app)
print(app.get(f"/jobs/{sid}").json["result"])
"""


def test_an_application_runs_jobs_where_neither_celery_nor_zope_is():
    said = subprocess.check_output([sys.executable, "-c", ALONE], text=True)

    assert said.strip() == "[3, 1]"
