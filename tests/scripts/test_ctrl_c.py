"""What somebody at a terminal sees who stops a server while a job runs."""

import pytest
from shop import wait_until
from slow_server import SlowServer


@pytest.fixture
def serve(tmp_path):
    """Start servers, one after the other."""
    servers = []

    def start(keeper="zodb"):
        server = SlowServer(
            tmp_path,
            zodb_async__scheduler=keeper,
            zodb_async__grace=600,
            zodb_async__autostart="true",
        )
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.mark.parametrize("keeper", ["zodb", "memory"])
def test_a_second_ctrl_c_stops_at_once_as_the_first_has_said(serve, keeper):
    server = serve(keeper)
    server.start_job()
    server.press()
    server.says(
        "INFO Waiting up to 600 s for 1 running job to end; press Ctrl-C again"
        " to stop now."
    )
    server.press()
    assert server.ended() == 0

    server.says("WARNING The engine stopped with jobs that have not ended: ")


def test_what_a_second_ctrl_c_has_left_is_run_by_the_next_server(serve):
    server = serve()
    sid = server.start_job()
    server.press()
    server.says("Ctrl-C again")
    server.press()
    assert server.ended() == 0
    server.let_jobs_go()
    server = serve()
    wait_until(lambda: server.ask(f"/jobs/{sid}")["state"] == "succeeded", 90)

    assert server.begun == 2


def test_a_job_that_ends_in_time_is_waited_for(serve):
    server = serve()
    sid = server.start_job()
    server.press()
    server.says("Ctrl-C again")
    server.let_jobs_go()
    assert server.ended() == 0
    assert "have not ended" not in server.log()

    assert serve().ask(f"/jobs/{sid}")["state"] == "succeeded"


def test_a_server_without_jobs_stops_at_the_first_ctrl_c(serve):
    server = serve()
    server.press()
    assert server.ended() == 0

    assert "Ctrl-C again" not in server.log()
