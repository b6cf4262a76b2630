"""Entity tags of jobs."""

import pytest
from pyramid.request import Request

from pyramid_zodb_async.jobs.model import make_version
from pyramid_zodb_async.web.etags import (
    etag_of,
    fits,
    known_etag,
    knows_progress,
    knows_runs,
)

RUNNING = make_version(2, changes=4)
ENDED = make_version(2, done=True)


def tag(run, changes=0, *, done=False):
    """Give the tag of one job."""
    return f'"{make_version(run, done=done, changes=changes)}"'


TAG, ENDED_TAG = tag(2, 4), tag(2, done=True)


def request(**headers):
    named = {name.replace("_", "-"): headers[name] for name in headers}
    return Request.blank("/", headers=named)


def test_a_tag_tells_the_versions_of_all_jobs():
    assert etag_of([RUNNING]) == f'"{RUNNING}"'
    assert etag_of([ENDED, None, 4]) == f'"{ENDED}_-_4"'


@pytest.mark.parametrize(
    ("sent", "is_known"),
    [
        (TAG, True),
        (f"W/{TAG}", True),
        (f'"rubbish", {TAG}', True),
        (tag(2, 5), True),  # another process knows more
        (ENDED_TAG, True),
        (tag(3), True),
        (tag(2, 3), False),
        (tag(1, 9), False),
        (tag(1, done=True), False),
        ('"-"', False),
        (f'"{RUNNING}_{RUNNING}"', False),
        ('"9x"', False),
        (f'"{"9" * 5000}"', False),
        ('""', False),
        ("rubbish", False),
    ],
)
def test_what_the_client_has_or_something_newer_needs_no_answer(
    sent, is_known
):
    known = known_etag(request(If_None_Match=sent), [RUNNING])

    assert known == (sent.split(" ")[-1] if is_known else None)


#: What others make of a tag, when they compress the answer.
CHANGES = [
    "W/{}",  # nginx and most others
    "{-gzip}",  # Apache, Caddy, lighttpd
    "{-br}",
    "{-zstd}",
    "{-deflate}",
    "{--gzip}",  # Jetty
    "{;gzip}",
    "{;gz}",  # LiteSpeed
    "{:br}",
    "W/{-gzip}",
]


def changed(change, versions):
    """Give a tag as somebody in between has changed it."""
    before, _, rest = change.partition("{")
    return f'{before}"{versions}{rest[:-1]}"'


@pytest.mark.parametrize("change", CHANGES)
def test_a_tag_that_a_proxy_has_changed_is_known(change):
    newest = changed(change, RUNNING)
    several = changed(change, f"{RUNNING}_-_{ENDED}")
    unknown = changed(change, f"{RUNNING}_-")
    old = changed(change, RUNNING - 1)

    assert known_etag(request(If_None_Match=newest), [RUNNING]) == newest
    assert knows_progress(request(If_None_Match=newest), [RUNNING])
    assert known_etag(request(If_None_Match=old), [RUNNING]) is None
    assert not knows_progress(request(If_None_Match=old), [RUNNING])
    assert knows_runs(request(If_None_Match=old), [RUNNING])
    versions = [RUNNING, None, ENDED]
    assert known_etag(request(If_None_Match=several), versions) == several
    assert known_etag(request(If_None_Match=unknown), [RUNNING, None])
    assert known_etag(request(If_None_Match=several), [RUNNING]) is None
    assert fits(request(If_Match=newest), RUNNING)
    assert fits(request(If_Match=old), RUNNING)
    assert not fits(request(If_Match=newest), ENDED)
    assert not fits(request(If_Match=changed(change, "-")), RUNNING)


def test_a_tag_does_not_grow_with_each_answer_that_is_known():
    """Apache's mod_brotli adds to the tag of a 304 what that has already."""
    sent = f'"{RUNNING}-br"'
    for _ in range(5):
        known = known_etag(request(If_None_Match=sent), [RUNNING])
        assert known == f'"{RUNNING}-br"'
        sent = f'"{RUNNING}-br-br"'


@pytest.mark.parametrize(
    "tag",
    [
        # of those who make tags from the length and a hash of the body
        f"{ENDED}-2aae6c35c94fcfb415dbe95f408b9ce91ee846ed",
        f"{ENDED}-5c3d8ab5",
        "5d8c72a5edda8d6a",
        "XrY7u+Ae7tCTyyK7j1rNww",
        f"{ENDED}-gzip-br-gzip",
        f"{ENDED}-GZIP",
        f"{ENDED}gzip",
        f"{ENDED}-",
        f"{ENDED}-rot13",
        f"-gzip{ENDED}",
        f"+{ENDED}",
        f" {ENDED}",
        f"0{ENDED}",
        f"{ENDED}__",
        f"{ENDED}_",
        f"-{ENDED}",
        f"{ENDED:_}",
        f"{ENDED}\xb2",
        "9" * 21,
    ],
)
def test_what_no_tag_of_ours_can_be_stays_unknown(tag):
    for sent in (f'"{tag}"', f'W/"{tag}"', f'"rubbish", "{tag}"'):
        assert known_etag(request(If_None_Match=sent), [RUNNING]) is None
        assert not fits(request(If_Match=sent), ENDED)


@pytest.mark.parametrize("sent", ['"{}', '{}"', '"" {}', 'W/W/"{}"', 'w/"{}"'])
def test_what_is_no_tag_stays_unknown(sent):
    sent = sent.format(RUNNING)

    assert known_etag(request(If_None_Match=sent), [RUNNING]) is None
    assert not fits(request(If_Match=sent), RUNNING)


def test_a_tag_without_quotes_is_understood():
    """Who types it for curl forgets them."""
    assert known_etag(request(If_None_Match=str(RUNNING)), [RUNNING])
    assert fits(request(If_Match=str(RUNNING)), RUNNING)


def test_no_more_than_a_hundred_tags_are_read():
    rubbish = '"rubbish", '

    assert known_etag(request(If_None_Match=rubbish * 99 + TAG), [RUNNING])
    many = request(If_None_Match=rubbish * 100 + TAG)
    assert known_etag(many, [RUNNING]) is None


def test_a_client_that_knows_anything_has_what_is_current():
    assert known_etag(request(If_None_Match="*"), [RUNNING]) == TAG


def test_without_a_tag_nothing_is_known():
    assert known_etag(request(), [RUNNING]) is None


def test_of_several_jobs_all_must_be_known():
    versions = [RUNNING, None]

    def knows(text):
        return known_etag(request(If_None_Match=f'"{text}"'), versions)

    assert knows(f"{RUNNING}_-")
    assert not knows(f"{RUNNING}_0")
    assert not knows(f"{RUNNING - 1}_-")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [(TAG, True), (ENDED_TAG, True), (tag(2, 3), False), ("x", False)],
)
def test_each_change_is_worth_an_answer_to_who_waits(sent, expected):
    assert knows_progress(request(If_None_Match=sent), [RUNNING]) == expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (tag(2), True),
        (tag(2, 9), True),
        (ENDED_TAG, True),
        (tag(1, 9), False),
        (tag(1, done=True), False),
        ("x", False),
    ],
)
def test_progress_alone_is_worth_no_answer_at_once_to_who_waits(
    sent, expected
):
    assert knows_runs(request(If_None_Match=sent), [RUNNING]) == expected
    assert not knows_runs(request(If_None_Match=TAG), [ENDED])


def test_who_sends_no_tag_waits_for_the_next_change():
    assert knows_progress(request(), [RUNNING, None])
    assert knows_runs(request(), [RUNNING, None])


def test_that_a_job_is_gone_is_known_to_who_says_so():
    known = request(If_None_Match=f'"{RUNNING}_-"')

    assert knows_runs(known, [RUNNING, None])
    assert not knows_runs(known, [RUNNING, RUNNING])


@pytest.mark.parametrize(
    ("headers", "version", "expected"),
    [
        ({}, RUNNING, True),
        ({"If_Match": "*"}, RUNNING, True),
        ({"If_Match": TAG}, RUNNING, True),
        ({"If_Match": tag(2)}, RUNNING, True),  # progress since
        ({"If_Match": ENDED_TAG}, ENDED, True),
        ({"If_Match": f"{tag(0)}, {ENDED_TAG}"}, ENDED, True),
        ({"If_Match": TAG}, ENDED, False),
        ({"If_Match": ENDED_TAG}, RUNNING, False),
        ({"If_Match": tag(1, 4)}, RUNNING, False),
        ({"If_Match": '"-"'}, RUNNING, False),
        ({"If_Match": f"W/{TAG}"}, RUNNING, True),
        ({"If_Match": f"W/{TAG}"}, ENDED, False),
        ({"If_Match": "rubbish"}, RUNNING, False),
    ],
)
def test_a_change_is_made_to_the_run_that_the_client_has_seen(
    headers, version, expected
):
    assert fits(request(**headers), version) == expected


@pytest.mark.parametrize(
    ("sent", "is_known", "does_fit"),
    [
        ('"2.3.1"', True, True),
        ('"2.2.1"', False, True),
        ('"2.done"', True, False),
        ('"1.9.9"', False, False),
        ('"3.0.0"', True, False),
        ('"2.3"', False, False),
        ('"2.x.1"', False, False),
        ('"x.done"', False, False),
        ('"2.3.1.0"', False, False),
    ],
)
def test_a_tag_of_the_former_build_is_understood(sent, is_known, does_fit):
    """A page may have got it while servers of two builds were running."""
    known = known_etag(request(If_None_Match=sent), [RUNNING])

    assert (known is not None) == is_known
    assert fits(request(If_Match=sent), RUNNING) == does_fit
