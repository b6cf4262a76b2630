"""Promise 11: a value arrives as it was, or is refused with the reason.

The table of ``docs/usage.rst`` tells what `schedule()` takes. These tests walk
that table: a row without values is an error, and so are values without a row.
"""

import functools
import re
import types

import all_values
import pytest
import shop
from all_values import ACCEPTED, REFUSED, fill
from folders import TESTS
from persistent import Persistent
from persistent.wref import WeakRef
from pyramid.response import Response

from pyramid_zodb_async import (
    ArgumentNotTransferable,
    PersistentContext,
    ResultNotTransferable,
)
from pyramid_zodb_async.testing import drain

pytestmark = pytest.mark.kept_in("memory", "zodb")

METHODS = types.MethodType | types.BuiltinMethodType

#: What a cell says if the two schedulers are not alike.
APART = re.compile("database: (?P<zodb>[^,]+), memory: (?P<memory>.+)")


def table():
    """Read the table: the cells after the first one of each row, by that."""
    text = (TESTS.parent / "docs" / "usage.rst").read_text()
    _, _, text = text.partition(":name: values\n")
    body = re.match(r"(?:\n|   .*\n)*", text).group()
    rows = [
        [" ".join(cell.split()) for cell in re.split(r"\n +- ", f"\n - {row}")]
        for row in re.split(r"\n   \* - ", body)[1:]
    ]
    return {first: cells for _, first, *cells in rows[1:]}


TABLE = table()

#: Each value, with the number of the row's function that makes it.
EACH = [
    (row, number)
    for row in TABLE
    for number in range(len({**ACCEPTED, **REFUSED}.get(row, ())))
]

each_value = pytest.mark.parametrize(("row", "number"), EACH)


def test_the_table_has_a_row_for_all_that_is_tried():
    assert TABLE.keys() == ACCEPTED.keys() | REFUSED.keys()
    for row in ACCEPTED:
        for place in ("argument", "result"):
            assert cell(row, place, "zodb") == "yes"
            assert cell(row, place, "memory") in {"yes", "if stored"}
    for row in REFUSED:
        argument, result, instead = TABLE[row]
        assert argument == result == "no"
        assert instead.startswith("pass ")


def make(row, number):
    """Make a value."""
    return {**ACCEPTED, **REFUSED}[row][number]()


def key_of(value):
    """Give what two equal values have in common, and two others have not."""
    for kind, key in KEYS.items():
        if isinstance(value, kind):
            return type(value), key(value)
    # also what == does not tell, such as fold
    attributes = getattr(value, "__dict__", {})
    return type(value), attributes or repr(value)


def key_of_object(value):
    if value._p_oid is not None:
        return value._p_oid
    return key_of(value.__getstate__())


def key_of_error(value):
    notes = getattr(value, "__notes__", None)
    return key_of(value.args), notes, str(value)


#: How objects are compared that are not equal, or only if they are one.
KEYS = {
    PersistentContext: lambda value: key_of(value[0]),
    WeakRef: lambda value: key_of(value()),
    Persistent: key_of_object,
    BaseException: key_of_error,
    set | frozenset: lambda value: sorted(map(repr, value)),
    list | tuple: lambda value: [key_of(part) for part in value],
    dict: lambda value: {key: key_of(value[key]) for key in value},
    functools.partial: lambda value: (value.func, key_of(value.args)),
    METHODS: lambda value: (value.__name__, key_of(value.__self__)),
}


def differs(found, expected, another):
    """Tell how two values differ; nothing if they do not.

    The third one is another that is made as the second one is.
    """
    if type(found) is not type(expected):
        return f"{type(found)} is not {type(expected)}"
    if is_new(expected):
        one, other = innermost(found), innermost(expected)
        same = type(one) is type(other) and one._p_jar is not None
        return "" if same else f"{one!r} is not {other!r}, stored"
    # a method of a text is equal only to one of the same text
    equal = expected == another and not isinstance(expected, METHODS)
    unequal = equal and found != expected
    if unequal or key_of(found) != key_of(expected):
        return f"{found!r} is not {expected!r}"
    return ""


def is_new(value):
    """Tell whether each making of a value makes another object."""
    value = innermost(value)
    return isinstance(value, Persistent) and (
        value._p_oid is None or getattr(value, "name", "") == "new"
    )


def innermost(value):
    """Give the object that a list or a weak reference has."""
    if type(value) is list and len(value) == 1:
        return innermost(value[0])
    return value() if isinstance(value, WeakRef) else value


def compare(row, number, value):
    """Compare an argument with what it was."""
    return differs(value, make(row, number), make(row, number))


@pytest.fixture
def run(make_app, tmp_path):
    """Schedule a job, run it, and give what is made of its outcome."""
    uri = f"file://{tmp_path}/Data.fs?blobstorage_dir={tmp_path}/blobs"

    def run(function, make_args, read):
        def schedule(request):
            return request.accepted(request.schedule(function, *make_args()))

        def look(request):
            job = request.jobs.get(request.params["sid"])
            value, error = None, job.failure and job.failure.message
            if job.failure is None:
                value = job.result
            return Response(str(error or read(value)))

        def prepare(request):
            fill(shop.root(request))
            return Response()

        app = make_app(
            {"/schedule": schedule, "/look": look, "/prepare": prepare},
            zodb_async__engine="inline",
            zodb_async__attempts="1",
            zodbconn__uri=uri,
        )
        app.get("/prepare")
        try:
            sid = app.get("/schedule").json["sid"]
            drain(app)
            return app.get("/look", {"sid": sid}).text
        finally:
            for other in all_values.others:
                other.close()
            all_values.others.clear()

    return run


def cell(row, place, scheduler):
    """Tell what the table says of a place of a value in a scheduler."""
    text = TABLE[row][["argument", "result"].index(place)]
    apart = APART.fullmatch(text)
    return apart[scheduler] if apart else text


@each_value
def test_an_argument_arrives_as_the_table_says(run, kept_in, row, number):
    def schedule():
        return row, number, make(row, number)

    said = cell(row, "argument", kept_in)
    if said == "yes":
        assert run(compare, schedule, str) == ""
    elif said == "no":
        with pytest.raises(ArgumentNotTransferable) as caught:
            run(compare, schedule, str)
        assert tells_a_reason(str(caught.value))
        assert "Argument 3 of test_promises_values:comp" in str(caught.value)
    else:
        with pytest.raises(ArgumentNotTransferable, match="store it"):
            run(compare, schedule, str)


@each_value
def test_a_result_arrives_as_the_table_says(run, kept_in, row, number, caplog):
    def look(value):
        return compare(row, number, value)

    said = cell(row, "result", kept_in)
    outcome = run(make, lambda: (row, number), look)
    if said == "yes":
        assert outcome == ""
    else:
        assert tells_a_reason(outcome)
        assert ResultNotTransferable.__name__ in caplog.text


def tells_a_reason(text):
    """Tell whether an error says what is wrong, or what to pass instead."""
    return re.search(
        r"; pass |; load it again|; store it|cannot be pickled \(\w+\)"
        r"|cannot be loaded \(\w+\)",
        text,
    )
