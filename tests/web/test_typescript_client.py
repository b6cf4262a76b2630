"""A client in TypeScript, with types that are generated from the description.

``tests/js/typescript`` has the client, and what its types refuse.
"""

import json
import re
import shutil
import subprocess

import pytest
from node_programs import TYPESCRIPT, find, run, typescript_packages

CLIENT, WRONG = "client.ts", "wrong.ts"

OPTIONS = [
    "--strict",
    # of other packages; the generated types are no declarations here
    "--skipLibCheck",
    *("--target", "es2022"),
    *("--module", "nodenext"),
    *("--lib", "es2022,dom,dom.iterable"),
]


@pytest.fixture(scope="module")
def compiled(server, tmp_path_factory):
    """Generate types, and compile both files; give folder and errors."""
    folder = tmp_path_factory.mktemp("typescript")
    packages = typescript_packages()
    (folder / "node_modules").symlink_to(packages)
    for name in (CLIENT, WRONG, "package.json"):
        shutil.copy(TYPESCRIPT / name, folder)
    url = f"{server.url}/jobs/static/openapi.json"
    command = packages / "openapi-typescript" / "bin" / "cli.js"
    ran = run("node", command, url, "--output", "jobs.ts", cwd=folder)
    assert ran.returncode == 0, ran.stdout
    command = packages / "typescript" / "bin" / "tsc"
    ran = run("node", command, *OPTIONS, CLIENT, WRONG, cwd=folder)
    return folder, ran.stdout


def errors_of(said, name):
    """Give the names of the errors by their lines."""
    pattern = rf"^{re.escape(name)}\((\d+),\d+\): error (TS\d+):"
    found = re.finditer(pattern, said, re.MULTILINE)
    return {int(match[1]): match[2] for match in found}


def test_the_types_accept_a_client(compiled):
    _, said = compiled

    assert errors_of(said, CLIENT) == {}
    assert set(re.findall(r"^(\S+)\(\d+,\d+\): ", said, re.MULTILINE)) == {
        WRONG
    }


def test_the_types_refuse_what_a_state_does_not_have(compiled):
    _, said = compiled
    lines = (TYPESCRIPT / WRONG).read_text().splitlines()
    expected = {
        number: match[1]
        for number, line in enumerate(lines, 1)
        if (match := re.search(r"// (TS\d+)$", line))
    }

    assert expected
    assert errors_of(said, WRONG) == expected


@pytest.fixture
def begin(compiled, server):
    """Give a function that has the client do something with a job."""
    folder, _ = compiled
    started = []

    def begin(action, sid):
        process = subprocess.Popen(
            [find("node"), "client.js", server.url, action, sid],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def documents(process):
    """Read what a client shows until it ends."""
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return [json.loads(line) for line in said.splitlines()]


def test_it_waits_for_a_job(begin, server):
    sid = server.schedule("walk", "typescript-", 1)
    server.wait_for(sid, "running")
    client = begin("wait", sid)
    first = json.loads(client.stdout.readline())
    server.open("typescript-1", "typescript-end")
    *_, last = documents(client)

    assert first["state"] == "running"
    assert (last["state"], last["outcome"]) == ("succeeded", 1)
    assert last["version"] > first["version"]


def test_it_cancels_a_job(begin, server):
    sid = server.schedule("walk", "never", 1)
    (document,) = documents(begin("cancel", sid))

    assert document["state"] == "cancelled"
    assert document["outcome"] == "JobCancelled"


def test_it_tries_a_job_again(begin, server):
    sid = server.schedule("fail", "typescript-again")
    server.wait_for(sid, "failed")
    server.open("typescript-again")
    first, *_, last = documents(begin("retry", sid))

    assert first["state"] == "pending"
    assert (last["state"], last["outcome"]) == ("succeeded", "open")


def test_it_hears_of_what_is_not_there(begin):
    client = begin("wait", "unknown")
    said, _ = client.communicate(timeout=60)

    assert client.returncode != 0
    assert "There is no such job" in said
