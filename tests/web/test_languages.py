"""Texts for people are translated for the person who asks."""

import pickle
import struct

import pytest
import shop
from pyramid.i18n import TranslationStringFactory
from pyramid.response import Response

from pyramid_zodb_async import JobError, current_job, events
from pyramid_zodb_async.testing import drain, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")

_ = TranslationStringFactory("shop")

#: By message id, in German.
GERMAN = {
    "no-discount": "Kein Rabatt auf ${title}.",
    "looking-for": "Suche ${title}",
    "report": "Bericht über ${title}",
    "found": "${title} gefunden",
}


def no_discount():
    return _(
        "no-discount",
        default="There is no discount on ${title}.",
        mapping={"title": "Emma"},
    )


def looking_for():
    return _("looking-for", default="Looking for ${title}", mapping=EMMA)


EMMA = {"title": "Emma"}


def compiled(texts):
    """Give a catalogue in the form that gettext reads."""
    names = sorted(texts)
    count, start = len(names), 28
    at = start + 16 * count
    tables, strings = b"", b""
    for column in (names, [texts[name] for name in names]):
        for text in column:
            encoded = text.encode()
            tables += struct.pack("<II", len(encoded), at + len(strings))
            strings += encoded + b"\0"
    head = struct.pack(
        "<7I", 0x950412DE, 0, count, start, start + 8 * count, 0, 0
    )
    return head + tables + strings


@pytest.fixture
def locales(tmp_path):
    """Give a folder with a German catalogue."""
    folder = tmp_path / "locale/de/LC_MESSAGES"
    folder.mkdir(parents=True)
    header = {"": "Content-Type: text/plain; charset=UTF-8\n"}
    (folder / "shop.mo").write_bytes(compiled(header | GERMAN))
    return str(tmp_path / "locale")


def look(request):
    """Tell how a view shows a job."""
    view = request.jobs.get(request.params["sid"])
    glanced = request.jobs.glance(request.params["sid"])
    assert glanced.title == view.title
    texts = (
        view.title,
        view.progress and view.progress.message,
        view.failure and view.failure.message,
    )
    assert all(type(text) in {str, type(None)} for text in texts)
    return Response("|".join(map(str, texts)))


def start(request):
    """Schedule with a title that is translated."""
    title = _("report", default="Report on ${title}", mapping=EMMA)
    schedule = request.schedule.with_options(title=title)
    return request.accepted(schedule(globals()[request.params["f"]]))


@pytest.fixture
def make_translated(make_app, locales):
    """Make applications that know German."""

    def make(**settings):
        return make_app(
            {"/start": start, "/look": look},
            configure=lambda config: config.add_translation_dirs(locales),
            **settings,
        )

    return make


@pytest.fixture
def app(make_translated, manager):
    return make_translated(**manager)


def ask(app, sid, language):
    return app.get(f"/jobs/{sid}?_LOCALE_={language}").json


def raise_for_people():
    raise JobError(no_discount())


def test_the_detail_of_an_error_is_in_the_language_of_who_asks(app, caplog):
    caplog.set_level("INFO")
    sid = app.get("/start?f=raise_for_people").json["sid"]
    drain(app)

    english = "There is no discount on Emma."
    assert ask(app, sid, "en")["error"]["detail"] == english
    assert ask(app, sid, "fr")["error"]["detail"] == english
    german = ask(app, sid, "de")["error"]["detail"]
    assert german == "Kein Rabatt auf Emma."
    assert english in caplog.text
    assert app.get(f"/look?sid={sid}&_LOCALE_=de").text == (
        "Bericht über Emma|None|Kein Rabatt auf Emma."
    )
    assert app.get(f"/look?sid={sid}&_LOCALE_=en").text == (
        f"Report on Emma|None|{english}"
    )


class NoSuchBook(JobError):
    """Makes its text of what it is given, as errors of applications do."""

    def __init__(self, title, shelf):
        super().__init__(title, shelf)
        self.title = title

    def __str__(self):
        return _(
            "no-discount",
            default="There is no discount on ${title}.",
            mapping={"title": self.title},
        )


def raise_own():
    raise NoSuchBook("Emma", 7)


def test_an_error_may_make_its_translation_string_itself(app, caplog):
    caplog.set_level("INFO")
    sid = app.get("/start?f=raise_own").json["sid"]
    drain(app)

    english = "There is no discount on Emma."
    assert ask(app, sid, "en")["error"]["detail"] == english
    assert ask(app, sid, "de")["error"]["detail"] == "Kein Rabatt auf Emma."
    assert english in caplog.text


def tell_and_wait():
    current_job().progress(1, 2, looking_for())
    shop.wait_at("gate")


def test_messages_are_in_the_language_of_who_asks(app, gate):
    sid = app.get("/start?f=tell_and_wait").json["sid"]
    gate.wait_for_job()

    for _when in ("while it runs", "when it has ended"):
        english = ask(app, sid, "en")["progress"]["message"]
        german = ask(app, sid, "de")["progress"]["message"]
        assert (english, german) == ("Looking for Emma", "Suche Emma")
        assert app.get(f"/look?sid={sid}&_LOCALE_=de").text == (
            "Bericht über Emma|Suche Emma|None"
        )
        gate.open()
        drain(app)


def give_found():
    found = _("found", default="Found ${title}", mapping=EMMA)
    nested = {"said": [found, ("plain", found)], "by": {1: "me"}}
    nested["again"] = nested["by"]
    return nested


def test_results_are_in_the_language_of_who_asks(app):
    sid = app.get("/start?f=give_found").json["sid"]
    drain(app)

    assert ask(app, sid, "de")["result"] == {
        "said": ["Emma gefunden", ["plain", "Emma gefunden"]],
        "by": {"1": "me"},
        "again": {"1": "me"},
    }
    assert ask(app, sid, "en")["result"]["said"][0] == "Found Emma"


def give_plain():
    return [1, {"a": ["b", None]}]


def test_other_results_are_as_they_were(app):
    sid = app.get("/start?f=give_plain").json["sid"]
    drain(app)

    assert ask(app, sid, "de")["result"] == [1, {"a": ["b", None]}]


def test_subscribers_and_pickles_have_the_default_text(make_app, locales):
    told = []
    app = make_app(
        {
            "/start": lambda request: request.accepted(
                request.schedule(raise_for_people)
            )
        },
        configure=lambda config: config.add_subscriber(
            told.append, events.JobFailed
        ),
    )
    app.get("/start")
    drain(app)
    view = pickle.loads(pickle.dumps(told[0].job))

    assert told[0].job.failure.message == "There is no discount on Emma."
    assert view.failure.message == "There is no discount on Emma."
    assert type(view.failure.message) is str


def test_the_exception_of_an_outcome_has_the_default_text(make_app):
    def fetch(request):
        _value, error = request.jobs.get_result(request.params["sid"])
        return Response(str(error))

    app = make_app(
        {
            "/fetch": fetch,
            "/start": lambda request: Response(
                request.schedule(raise_for_people)
            ),
        }
    )
    sid = app.get("/start").text
    wait_for(app, sid)

    assert app.get(f"/fetch?sid={sid}").text == "There is no discount on Emma."


SHARED = [("zodb", kind) for kind in ("zeo", "sqlite", "postgres")]


@pytest.mark.parametrize(("kept_in", "storage"), SHARED)
def test_processes_that_do_not_run_the_job_translate_as_well(
    make_translated, gate
):
    here, there = make_translated(), make_translated()
    here.get("/jobs/unknown", status=404)
    sid = here.get("/start?f=tell_and_wait").json["sid"]
    gate.wait_for_job()

    def shown():
        return there.get(f"/look?sid={sid}&_LOCALE_=de").text

    shop.wait_until(lambda: shown() == "Bericht über Emma|Suche Emma|None")
    there.delete(f"/jobs/{sid}")
    assert shown() == "Bericht über Emma|Suche Emma|None"  # cancelled
    gate.open()
    drain(here)
