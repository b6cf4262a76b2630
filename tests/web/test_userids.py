"""Owners are known by the type and the value of their userids."""

import enum
import uuid
from fractions import Fraction

import pytest
import shop
import transaction
from pyramid.response import Response

from pyramid_zodb_async import IScheduler, testing
from pyramid_zodb_async.database.connections import ThreadConnections
from pyramid_zodb_async.testing import drain, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


class Textless:
    """A user of whom only the address can be told."""


class Described:
    """A user whose description is that of others as well."""

    def __repr__(self):
        return "<a user>"


class Nameless:
    """A user whose text is empty."""

    def __str__(self):
        return ""


class Addressed:
    """A user whose text has an address."""

    def __str__(self):
        return f"user {object()}"


class Key:
    """A key of some library, which has a text."""

    def __init__(self, text):
        self.text = text

    def __str__(self):
        return self.text


class Role(enum.StrEnum):
    """Users that are known beforehand."""

    ROBOT = "1"


class Level(int, enum.Enum):
    """Whole numbers that show as something else."""

    FIRST = 1


class Nick(str):
    """A text that shows as something else."""

    __slots__ = ()

    def __str__(self):
        return "ann"


class Userids:
    """A policy that believes the test."""

    userid = None

    def authenticated_userid(self, request):
        return self.userid

    identity = authenticated_userid

    def permits(self, request, context, permission):
        return False


@pytest.fixture
def policy():
    return Userids()


@pytest.fixture
def app(make_app, policy, manager):
    return make_app(
        {"/start": shop.start},
        configure=lambda config: config.set_security_policy(policy),
        **manager,
    )


IDENTIFIER = uuid.UUID(int=1)


@pytest.mark.parametrize(
    ("userid", "other"),
    [
        (1, "1"),
        ("1", 1),
        (1, True),
        (1, 1.0),
        ("True", True),
        (b"x", "b'x'"),
        (IDENTIFIER, str(IDENTIFIER)),
        (Key("1"), "1"),
        (Key("1"), 1),
        (("realm", 1), "('realm', 1)"),
        ("None", None),
        ("", None),
        (Fraction(1, 2), "1/2"),
        (Nick("bob"), "ann"),
    ],
)
@pytest.mark.parametrize("is_over", [False, True], ids=["running", "ended"])
def test_who_has_the_same_text_is_not_the_same_user(
    app, policy, gate, userid, other, is_over
):
    policy.userid = userid
    path = shop.begin(app, "wait_at", "gate")
    if is_over:
        gate.open()
        drain(app)

    app.get(path, status=200)
    policy.userid = other
    app.get(path, status=404)
    app.delete(path, status=404)
    policy.userid = userid
    app.get(path, status=200)


@pytest.mark.parametrize(
    ("userid", "same"),
    [
        ("1", Role.ROBOT),
        (Key("1"), Key("1")),
        (1, 1),
        (1, Level.FIRST),
        ("bob", Nick("bob")),
    ],
)
def test_equal_userids_are_one_user(app, policy, userid, same):
    policy.userid = userid
    path = shop.begin(app, "nothing")
    policy.userid = same

    app.get(path, status=200)


@pytest.mark.parametrize(
    "kind",
    [Textless, Described, Nameless, Addressed, list, dict],
)
def test_a_userid_without_a_text_of_its_own_schedules_nothing(
    make_app, policy, kind
):
    def view(request):
        with pytest.raises(TypeError, match="has no text of its own") as error:
            request.schedule(shop.add, "word")
        return Response(str(error.value))

    app = make_app(
        {"/view": view, "/start": shop.start},
        configure=lambda config: config.set_security_policy(policy),
    )
    policy.userid = "ann"
    path = shop.begin(app, "nothing")
    policy.userid = kind()
    text = app.get("/view").text
    app.get(path, status=404)
    drain(app)

    assert kind.__qualname__ in text
    assert "return a str or an int" in text
    assert shop.effects(app) == []


def test_a_userid_in_a_tuple_needs_a_text_too(make_app, policy):
    def view(request):
        with pytest.raises(TypeError, match="has no text of its own"):
            request.schedule(shop.nothing)
        return Response()

    policy.userid = ("realm", Described())
    make_app(
        {"/view": view},
        configure=lambda config: config.set_security_policy(policy),
    ).get("/view")


def test_the_owner_of_a_view_is_a_text(app, policy):
    policy.userid = 7
    sid = shop.sid_of(shop.begin(app, "nothing"))

    assert wait_for(app, sid).owner == "7"


def schedule_another():
    """Schedule in a job, for its owner."""
    return shop.get_current_request().schedule(shop.nothing)


def test_what_a_job_schedules_belongs_to_who_scheduled_the_job(
    make_app, policy
):
    app = make_app(
        {
            "/start": lambda request: request.accepted(
                request.schedule(schedule_another)
            )
        },
        configure=lambda config: config.set_security_policy(policy),
    )
    policy.userid = 7
    sid = wait_for(app, app.get("/start").json["sid"]).result
    drain(app)

    app.get(f"/jobs/{sid}", status=200)
    policy.userid = "7"
    app.get(f"/jobs/{sid}", status=404)


@pytest.mark.parametrize("userid", [1, "1"])
def test_an_owner_whose_type_is_not_stored_is_known_by_the_text(
    app, policy, userid
):
    """As earlier versions stored owners, and as schedulers get them."""
    scheduler = app.app.registry.getUtility(IScheduler)
    with transaction.manager:
        sid = scheduler.schedule_call(
            shop.nothing, (), {}, ThreadConnections(), owner="1"
        )
    policy.userid = userid
    app.get(f"/jobs/{sid}", status=200)
    policy.userid = "2"
    app.get(f"/jobs/{sid}", status=404)


@pytest.mark.kept_in("zodb")
def test_owners_are_the_same_after_a_restart(make_app, policy):
    app = make_app(
        {"/start": shop.start},
        configure=lambda config: config.set_security_policy(policy),
        zodb_async__engine="manual",
    )
    policy.userid = 1
    path = shop.begin(app, "nothing")
    testing.restart(app)

    app.get(path, status=200)
    policy.userid = "1"
    app.get(path, status=404)
