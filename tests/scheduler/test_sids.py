"""A sid tells where the record of its job is, and cannot be guessed."""

import pytest
import transaction
from BTrees.IIBTree import IITreeSet
from BTrees.IOBTree import IOBTree
from hand_driven import page_of
from hypothesis import given
from hypothesis import strategies as st

from pyramid_zodb_async.jobs.model import LONGEST_SID
from pyramid_zodb_async.scheduler import sids
from pyramid_zodb_async.scheduler.process.placing import add_cell
from pyramid_zodb_async.scheduler.records import Shard, Store
from pyramid_zodb_async.scheduler.sids import (
    MOST_NEW,
    SIGNATURE,
    Place,
    make_sid,
    new_sid,
    path_of,
    split_own,
    split_path,
    split_sid,
)
from pyramid_zodb_async.scheduler.store.unknown_jobs import load_another

#: What stands for the key of a page in a tree, and for a signature.
KEY, SIGNED = "AAAAAAAAAAAAAAAAAAAAAA", "ABCDEFGHIJKLMNOPQRSTUA"

keys = st.binary(min_size=SIGNATURE, max_size=SIGNATURE)
small = st.integers(min_value=0, max_value=2**20)
pages = keys | st.tuples(small, small)
indexes = st.none() | small


@st.composite
def places(draw):
    """Give places as jobs have them: with a signature unless a key proves."""
    page, index = draw(pages), draw(indexes)
    is_key = isinstance(page, bytes) and index is None
    signature = b"" if is_key else draw(keys)
    return Place(draw(small), page, index, signature)


def test_the_sid_of_a_job_in_a_tree_is_as_in_earlier_versions():
    sid = make_sid(Place(0x1F, b"\xff" * 16))

    assert sid == "1f-" + "_" * 21 + "w"
    assert split_sid(sid) == (0x1F, b"\xff" * 16, None, b"")


def test_the_sid_of_a_job_in_a_shard_has_the_numbers_of_its_page():
    sid = make_sid(Place(0x1F, (0xA, 0xB), 0xC, b"\xff" * 16))

    assert sid == "1f-a.b.c-" + "_" * 21 + "w"
    assert split_sid(sid) == (0x1F, (0xA, 0xB), 0xC, b"\xff" * 16)


@given(places())
def test_a_sid_tells_its_place_and_is_short(place):
    sid = make_sid(place)

    assert split_sid(sid) == place
    assert len(sid) <= LONGEST_SID


@given(pages, indexes)
def test_a_path_tells_the_page_and_the_index(page, index):
    assert split_path(path_of(page, index)) == (page, index)


@given(st.text(alphabet="0123456789abcdefABCx+_.-= \n٣", max_size=64))
def test_of_any_text_no_job_has_two_sids(text):
    try:
        place = split_sid(text)
    except ValueError:
        return
    assert make_sid(place) == text


@pytest.fixture
def store(connection):
    """Give a store in a database."""
    made = connection.root()["store"] = Store(longest_timeout=1)
    transaction.commit()
    return made


BAD = [
    "",
    "-",
    "1f",
    "1f-",
    f"-{KEY}",
    f"01f-{KEY}",
    f"1F-{KEY}",
    f" 1f-{KEY}",
    f"+1f-{KEY}",
    f"1_f-{KEY}",
    f"1f-{KEY[:-1]}B",  # a bit that no key has
    f"1f-{KEY}==",
    f"1f-{KEY}\n",
    f"1f-{KEY[2:]}",
    f"1f-{KEY}AA",
    f"1f-Ä{KEY[1:]}",
    f"1f-{KEY[:10]}+{KEY[11:]}",
    "x" * 100_000,
    f"{'f' * 100_000}-{KEY}",
    # of pages in shards
    "1f-0.1",
    "1f-0.1-",
    f"1f-0-{SIGNED}",
    f"1f-.-{SIGNED}",
    f"1f-0.-{SIGNED}",
    f"1f-.1-{SIGNED}",
    f"1f-00.1-{SIGNED}",
    f"1f-0.01-{SIGNED}",
    f"1f-0.1.-{SIGNED}",
    f"1f-0.1.00-{SIGNED}",
    f"1f-0.1.2.3-{SIGNED}",
    f"1f-0.A-{SIGNED}",
    f"1f-0.+1-{SIGNED}",
    f"1f-0.-1-{SIGNED}",
    f"1f--1.0-{SIGNED}",
    f"1f-0.1_0-{SIGNED}",
    f"1f-0.٣-{SIGNED}",
    f"1f-0.1-{SIGNED[:-1]}B",
    f"1f-0.1-{SIGNED}==",
    f"1f-0.1-{SIGNED}\n",
    # of blocks in trees
    f"1f-{KEY}.1",
    f"1f-{KEY}.-{SIGNED}",
    f"1f-{KEY}.-1-{SIGNED}",
    f"1f-{KEY}.01-{SIGNED}",
    f"1f-{KEY}-{SIGNED}",
    f"1f-{KEY}1-{SIGNED}",
]


@pytest.mark.parametrize("sid", [*BAD, None, 31, b"1f-0.1"])
def test_what_is_no_sid_is_refused_and_is_no_job(store, sid):
    with pytest.raises(ValueError):  # noqa: PT011 - of several libraries
        split_sid(sid)
    assert store.locate(sid) is None


HUGE = f"{2**80:x}"


@pytest.mark.parametrize(
    "sid",
    [
        *BAD,
        f"1f-0.1-{SIGNED}",
        f"1f-0.1.2-{SIGNED}",
        f"1f-{KEY}.2-{SIGNED}",
        f"1f-{KEY}",
        f"1f-{HUGE[:8]}.0-{SIGNED}",
        f"1f-0.{HUGE[:8]}-{SIGNED}",
        f"{HUGE[:8]}-0.0-{SIGNED}",
    ],
)
def test_for_any_sid_another_job_is_loaded_without_an_error(store, sid):
    number, slice_ = store.newest()
    for fill in (lambda _: None, add_shard, add_blocks):
        fill(slice_)
        for of_newest in (sid, f"{number:x}-{sid.partition('-')[2]}"):
            assert store.locate(of_newest) is None
            load_another(store, of_newest)


def add_shard(slice_):
    """Add an empty page."""
    slice_.shards[0] = shard = Shard("keeper")
    shard.make_pages(1)


def add_blocks(slice_):
    """Have a block with a job on that page, and one in a tree."""
    key = b"\0" * SIGNATURE
    slice_.tree(key)[key] = block_of(page_of())
    page = slice_.shards[0].pages[0]
    page.change(function="shop:nothing")
    block_of(page)


def block_of(page):
    page.change(cells=IOBTree(), open=IITreeSet())
    add_cell(page, ((), ()))
    return page


@given(places())
def test_a_new_sid_tells_the_same_as_one_of_another_process(place):
    assert new_sid(place) == make_sid(place)
    assert split_own(new_sid(place)) == place


def test_no_more_than_some_new_sids_are_remembered():
    made = [
        Place(number, (1, 2), None, b"s" * SIGNATURE)
        for number in range(MOST_NEW + 2)
    ]

    assert [split_own(sid) for sid in map(new_sid, made)] == made
    assert len(sids._new) <= MOST_NEW
    assert split_own(make_sid(made[0])) == made[0]
