"""Open files, which no job gets."""

import gzip
import io
import multiprocessing
import socket
import tempfile

import pytest
import shop
import transaction
from pyramid.response import Response

from pyramid_zodb_async import ArgumentNotTransferable
from pyramid_zodb_async.testing import drain

pytestmark = pytest.mark.kept_in("memory", "zodb")

KINDS = [
    "BytesIO",
    "StringIO",
    "TemporaryFile",
    "NamedTemporaryFile",
    "SpooledTemporaryFile",
    "gzip",
    "socket",
    "pipe",
]


def open_file(kind, size):
    """Give an open file of a kind."""
    match kind:
        case "BytesIO":
            return io.BytesIO(b"x" * size)
        case "StringIO":
            return io.StringIO("x" * size)
        case "gzip":
            return gzip.GzipFile(fileobj=io.BytesIO(), mode="w")
        case "socket":
            return socket.socket()
        case "pipe":
            end, other = multiprocessing.Pipe()
            other.close()
            return end
    return getattr(tempfile, kind)()


@pytest.mark.parametrize("size", [1, 900, 5000])
def test_the_file_of_an_upload_is_refused_whatever_its_size(make_app, size):
    refusals = []

    def view(request):
        for argument in (
            request.POST["upload"],
            request.POST["upload"].file,
            {"nested": [(request.POST["upload"].file,)]},
        ):
            with pytest.raises(ArgumentNotTransferable) as refusal:
                request.schedule(shop.give, argument)
            refusals.append(str(refusal.value))
        request.POST["upload"].file.close()
        return Response()

    app = make_app({"/upload": view})
    app.post("/upload", upload_files=[("upload", "a.txt", b"x" * size)])

    assert len(refusals) == 3
    for refusal in refusals:
        assert "Argument 1" in refusal
        assert "pass its bytes" in refusal


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_open_is_refused_with_what_to_pass(make_app, kind):
    def view(request):
        with (
            open_file(kind, 10) as file,
            pytest.raises(ArgumentNotTransferable, match=r"pass|send"),
        ):
            request.schedule(shop.give, [file])
        return Response()

    make_app({"/view": view}).get("/view")


def give_open(kind):
    """Return an open file."""
    return {"file": open_file(kind, 10)}


@pytest.mark.parametrize("kind", ["BytesIO", "StringIO"])
def test_an_open_file_is_no_result(make_app, kind):
    app = make_app(
        {"/v": lambda request: Response(request.schedule(give_open, kind))}
    )
    sid = app.get("/v").text
    drain(app)
    error = app.get(f"/jobs/{sid}").json["error"]

    assert error["type"] == "ResultNotTransferable"
    assert "pass its bytes" in error["detail"]


class Reader:
    """An object that has an open file."""

    def __init__(self):
        self.source = io.BytesIO(b"x")

    def read(self):
        return self.source.read()


def test_a_method_of_an_object_with_an_open_file_is_no_job(scheduler):
    with pytest.raises(ArgumentNotTransferable, match="pass its bytes"):
        scheduler.schedule(Reader().read)
    transaction.abort()
