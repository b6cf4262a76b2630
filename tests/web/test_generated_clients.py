"""Clients that are generated from the OpenAPI description wait for jobs."""

import importlib
import importlib.util
import subprocess
import sys
from datetime import datetime

import pytest
from described import FILE
from needed import missing

GENERATOR = "openapi_python_client"


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """Generate a client in Python; give what imports its modules."""
    if importlib.util.find_spec(GENERATOR) is None:
        missing("openapi-python-client is not installed: make")
    folder = tmp_path_factory.mktemp("generated")
    ran = subprocess.run(
        [
            *(sys.executable, "-m", GENERATOR, "generate", "--meta", "none"),
            *("--path", FILE, "--output-path", folder / "jobs_of_tests"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    sys.path.insert(0, str(folder))
    yield lambda name: importlib.import_module(f"jobs_of_tests.{name}")
    sys.path.remove(str(folder))


@pytest.fixture
def ask(server, generated):
    """Give a function that asks by a module of the generated client."""
    make = generated("client").Client
    with make(base_url=server.url, raise_on_unexpected_status=True) as client:
        yield lambda module, *sids, **headers: generated(
            f"api.{module}"
        ).sync_detailed(*sids, client=client, **headers)


def test_a_generated_client_waits_for_a_job(server, ask, generated):
    sid = server.schedule("add", 41)
    answer = ask("one.get_job", sid, prefer="wait=2")
    while not answer.parsed.done:
        known = f'"{answer.parsed.version}"'
        later = ask("one.get_job", sid, prefer="wait=2", if_none_match=known)
        answer = later if later.status_code == 200 else answer
    job = answer.parsed

    assert isinstance(job, generated("models").SucceededJob)
    assert job.result == 42
    assert isinstance(job.finished, datetime)
    known = f'"{job.version}"'
    again = ask("one.get_job", sid, if_none_match=known)
    assert (again.status_code, again.parsed) == (304, None)
    listed = ask("several.get_jobs", sid=[sid, "unknown"]).parsed.jobs
    assert [type(one).__name__ for one in listed] == [
        "SucceededJob",
        "UnknownJob",
    ]


def test_a_generated_client_changes_a_job(server, ask, generated):
    models = generated("models")
    sid = server.schedule("walk", "never", 1)

    refused = ask("one.retry_job", sid)
    assert refused.status_code == 409
    assert isinstance(refused.parsed, models.PendingJob | models.RunningJob)
    cancelled = ask("one.delete_job", sid)
    assert cancelled.status_code == 202
    assert isinstance(cancelled.parsed, models.CancelledJob)
    assert cancelled.parsed.error.type_ == "JobCancelled"
    changed = ask("one.delete_job", sid, if_match='"0"')
    assert changed.status_code == 412
    assert isinstance(changed.parsed, models.CancelledJob)
    assert ask("one.delete_job", sid).status_code == 204
    gone = ask("one.get_job", sid)
    assert gone.status_code == 404
    assert isinstance(gone.parsed, models.Problem)
