"""Mail and SQL in a job commit and abort with it.

The mail goes through pyramid_mailer to a server of its own or to a queue,
the rows through zope.sqlalchemy to a file of SQLite.
"""

import email

import pytest
import shop
import sqlalchemy
import zope.sqlalchemy
from aiosmtpd.controller import Controller
from ports import free_port
from pyramid.response import Response
from pyramid.threadlocal import get_current_request
from pyramid_mailer.message import Message
from repoze.sendmail.maildir import Maildir
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    configure_mappers,
    mapped_column,
    sessionmaker,
)

from pyramid_zodb_async import ArgumentNotTransferable, JobState
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.testing import (
    conflict_next,
    crash_next,
    drain,
    fail_next,
    paused,
    restart,
    run_next,
)

pytestmark = pytest.mark.kept_in("memory", "zodb")


class Base(DeclarativeBase):
    """The tables."""


class Order(Base):
    """What somebody has ordered."""

    __tablename__ = "orders"
    title: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(nullable=False)
    copies: Mapped[int] = mapped_column(default=1)
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - theirs


configure_mappers()


def make_dbsession(request):
    """Give a session in the request's transaction, as Pylons' recipe does."""
    session = request.registry["dbsession_factory"](info={"request": request})
    zope.sqlalchemy.register(session, transaction_manager=request.tm)
    return session


def order(title):
    """Leave an effect in each of the three places."""
    request = get_current_request()
    request.dbsession.add(Order(title=title))
    request.registry["send"](
        request.mailer,
        Message(
            subject=f"Your order of {title}",
            sender="shop@example.com",
            recipients=["ann@example.com"],
            body="Thank you!",
        ),
    )
    shop.add(title)


def order_and_fail(title):
    order(title)
    raise ValueError(title)


def order_two_copies(title):
    """Change a row, with the version that was read."""
    request = get_current_request()
    found = request.dbsession.get(Order, title)
    found.copies += 1
    shop.add(f"{title} again")


class Post:
    """A mail server that keeps what it gets."""

    def __init__(self):
        self.subjects = []

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content)
        self.subjects.append(message["Subject"])
        return "250 OK"


class ByServer:
    """Mails that go to a server with the commit."""

    def __init__(self, folder):
        self._post = Post()
        port = free_port()
        self._controller = Controller(
            self._post, hostname="127.0.0.1", port=port
        )
        self._controller.start()
        self.settings = {"mail__host": "127.0.0.1", "mail__port": port}

    def send(self, mailer, message):
        mailer.send(message)

    def subjects(self):
        return self._post.subjects

    def stop(self):
        if self._controller.server is not None:
            self._controller.stop()


class ByQueue:
    """Mails that go to a folder with the commit, for another process."""

    def __init__(self, folder):
        self._new = folder / "mail" / "new"
        # two threads that make it at the same time would fail
        Maildir(str(folder / "mail"), create=True)
        self.settings = {"mail__queue_path": str(folder / "mail")}

    def send(self, mailer, message):
        mailer.send_to_queue(message)

    def subjects(self):
        return [
            email.message_from_bytes(path.read_bytes())["Subject"]
            for path in sorted(self._new.glob("*"))
        ]

    def stop(self):
        pass


@pytest.fixture(params=[ByServer, ByQueue])
def mail(request, tmp_path):
    way = request.param(tmp_path)
    yield way
    way.stop()


@pytest.fixture
def sql(tmp_path):
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/shop.sqlite")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def make(make_app, mail, sql, manager):
    """Make an application with all three."""

    def configure(config):
        config.registry["dbsession_factory"] = sessionmaker(bind=sql)
        config.registry["send"] = mail.send
        config.add_request_method(make_dbsession, "dbsession", reify=True)

    def start(request):
        function = globals()[request.params["function"]]
        title = request.params["argument"]
        return request.accepted(request.schedule(function, title))

    def make(view=None, uri=None, **settings):
        if uri:
            mail.settings["zodbconn__uri"] = uri
        return make_app(
            {"/start": start, "/view": view or start},
            includes=(*shop.INCLUDES, "pyramid_mailer"),
            configure=configure,
            **{f"zodb_async__{name}": settings[name] for name in settings},
            **mail.settings,
            **manager,
        )

    return make


@pytest.fixture
def app(make):
    """Give one with an engine by hand."""
    return make(engine="manual")


@pytest.fixture
def left(mail, sql):
    """Tell what there is in the three places."""

    def left(app):
        with sql.connect() as connection:
            rows = connection.execute(
                sqlalchemy.text("SELECT title FROM orders")
            )
            titles = [title for (title,) in rows]
        return shop.effects(app), titles, mail.subjects()

    return left


NOTHING = ([], [], [])
ONE = (["Emma"], ["Emma"], ["Your order of Emma"])


def test_a_job_that_succeeds_leaves_all(app, left):
    shop.begin(app, "order", "Emma")
    assert left(app) == NOTHING
    assert run_next(app).state is JobState.SUCCEEDED

    assert left(app) == ONE


def test_a_job_that_raises_leaves_nothing(app, left):
    shop.begin(app, "order_and_fail", "Emma")
    assert run_next(app).state is JobState.FAILED

    assert left(app) == NOTHING


def test_a_job_whose_commit_fails_leaves_nothing(app, left):
    shop.begin(app, "order", "Emma")
    fail_next(app, ValueError, "commit")
    assert run_next(app).state is JobState.FAILED

    assert left(app) == NOTHING


def test_a_job_that_is_repeated_leaves_all_once(app, left):
    shop.begin(app, "order", "Emma")
    for _ in range(2):
        conflict_next(app)
        assert run_next(app, early=True).state is JobState.PENDING
        assert left(app) == NOTHING
    run_next(app, early=True)

    assert left(app) == ONE


def test_a_job_that_meets_a_real_conflict_leaves_all_once(app, left):
    shop.begin(app, "order", "Emma")
    run_next(app)
    shop.begin(app, "order", "Ulysses")
    with paused(app):
        add_from_outside(app, "meanwhile")
    _, rows, mails = left(app)
    assert (rows, mails) == (["Emma"], ["Your order of Emma"])
    run_next(app, early=True)

    effects, rows, mails = left(app)
    assert effects == ["Emma", "meanwhile", "Ulysses"]
    assert sorted(rows) == ["Emma", "Ulysses"]
    assert sorted(mails) == ["Your order of Emma", "Your order of Ulysses"]


def add_from_outside(app, word):
    db = databases_of(app.app.registry)[""]
    with db.transaction() as connection:
        connection.root()["history"].append(word)


def test_a_job_that_is_cancelled_in_the_middle_leaves_nothing(app, left):
    path = shop.begin(app, "order", "Emma")
    with paused(app):
        app.delete(path, status=202)

    assert app.get(path).json["state"] == "cancelled"
    assert left(app) == NOTHING


def test_a_row_that_is_refused_fails_the_job_and_leaves_nothing(app, left):
    shop.begin(app, "order", "Emma")
    run_next(app)
    shop.begin(app, "order", "Emma")
    view = run_next(app)

    assert view.failure.type == "IntegrityError"
    assert left(app) == ONE


def test_a_row_that_somebody_else_has_changed_repeats_the_job(app, left, sql):
    shop.begin(app, "order", "Emma")
    run_next(app)
    shop.begin(app, "order_two_copies", "Emma")
    with paused(app), sql.begin() as connection:
        connection.execute(
            sqlalchemy.text("UPDATE orders SET copies = 5, version = 2")
        )
    run_next(app, early=True)
    with sql.connect() as connection:
        copies = connection.execute(
            sqlalchemy.text("SELECT copies FROM orders")
        )
        assert copies.scalar() == 6

    assert left(app)[0] == ["Emma", "Emma again"]


@pytest.mark.parametrize("kept_in", ["zodb"])
def test_a_job_whose_process_dies_leaves_all_once(app, left):
    shop.begin(app, "order", "Emma")
    crash_next(app)
    run_next(app)
    assert left(app) == NOTHING
    restart(app)
    run_next(app)

    assert left(app) == ONE


def test_jobs_at_the_same_time_leave_all_once(make, left):
    app = make(engine="threads", workers=3)
    titles = [f"volume {number}" for number in range(10)]
    for title in titles:
        shop.begin(app, "order", title)
    drain(app, timeout=60)
    effects, rows, mails = left(app)

    assert sorted(effects) == titles
    assert sorted(rows) == titles
    assert sorted(mails) == [f"Your order of {title}" for title in titles]


@pytest.mark.parametrize("mail", [ByServer], indirect=True)
@pytest.mark.parametrize("kept_in", ["zodb"])
def test_a_storage_that_comes_after_the_mail_has_nothing_if_that_fails(
    make, left, mail
):
    app = make(engine="manual", uri="memory://")
    mail.stop()
    shop.begin(app, "order", "Emma")
    view = run_next(app)

    assert view.failure.type == "CommitInDoubt"
    assert "ConnectionRefusedError" in view.failure.message
    assert left(app) == ([], ["Emma"], [])


@pytest.mark.parametrize(
    "give", [lambda request: request.mailer, make_dbsession]
)
def test_what_belongs_to_a_request_is_refused_as_an_argument(make, give):
    def view(request):
        with pytest.raises(ArgumentNotTransferable):
            request.schedule(shop.give, give(request))
        return Response()

    make(view=view).get("/view")


@pytest.mark.parametrize("mail", [ByServer], indirect=True)
def test_a_mail_server_that_is_away_loses_the_mail_alone(
    app, left, mail, kept_in
):
    mail.stop()
    shop.begin(app, "order", "Emma")
    view = run_next(app)

    # all else is committed by then, so that it must not be tried again
    assert left(app) == (["Emma"], ["Emma"], [])
    if kept_in == "zodb":
        assert view.state is JobState.SUCCEEDED
    else:
        assert view.failure.type == "CommitInDoubt"
