"""Translation strings are kept as plain data beside their default text."""

import pytest
from pyramid.i18n import TranslationString, make_localizer

from pyramid_zodb_async import JobError, Options, Progress
from pyramid_zodb_async.jobs.model import Failure
from pyramid_zodb_async.jobs.option_checks import checked
from pyramid_zodb_async.jobs.translations import (
    TranslatableText,
    as_text,
    loaded_text,
)
from pyramid_zodb_async.transfer.failures import LONGEST_TEXT, describe

LOCALIZER = make_localizer("de", [])


def string(default="About ${title}", **mapping):
    return TranslationString(
        "about",
        domain="shop",
        default=default,
        mapping=mapping or None,
        context="menu",
    )


def test_a_text_that_is_translatable_is_a_text_to_others():
    text = as_text(string(title="Emma"), 100)

    assert text == "About Emma"
    assert text.translation == (
        "about",
        "shop",
        "About ${title}",
        (("title", "Emma"),),
        "menu",
    )
    assert text.translate(LOCALIZER) == "About Emma"


def test_a_translation_string_needs_no_more_than_its_id():
    text = as_text(TranslationString("about"), 100)

    assert text == "about"
    assert text.translation == ("about", None, "about", (), None)


def test_what_a_text_mentions_becomes_plain():
    nested = string("the ${kind}", kind="book")
    text = as_text(string(title=nested, number=3), 100)

    assert text == "About the book"
    assert dict(text.translation[3]) == {"title": "the book", "number": "3"}


def test_a_long_text_is_cut_and_translated_all_the_same():
    text = as_text(string(title="x" * 200), 100)

    assert len(text) == 100
    assert text.endswith("…")
    assert text.translate(LOCALIZER) == "About " + "x" * 200


def test_a_translation_of_too_many_parts_is_not_kept():
    text = as_text(string(title="x" * 20_000), 100)

    assert type(text) is str
    assert text.startswith("About xxx")


def test_a_translation_of_another_text_is_ignored():
    translation = as_text(string(title="Emma"), 100).translation

    assert type(loaded_text("About Emma", translation)) is TranslatableText
    assert type(loaded_text("About Ulysses", translation)) is str
    assert type(loaded_text("About Emma", None)) is str


def plain_parts(value):
    """List what a stored value consists of."""
    if isinstance(value, tuple | list):
        return [kind for part in value for kind in plain_parts(part)]
    return [type(value)]


def test_what_is_stored_is_plain_and_comes_out_the_same():
    title = checked({"title": string(title="Emma")})["title"]
    options = Options(title=title)
    failure = describe(JobError(string(title="Emma")))
    progress = Progress(done=1, message=as_text(string(title="Emma"), 100))

    for stored in (
        options.stored(),
        failure.stored(),
        progress.as_tuple(),
        progress.translation,
    ):
        assert set(plain_parts(stored)) <= {str, bool, int, type(None)}
    for text in (
        Options.load(options.stored()).title,
        Failure.load(failure.stored()).message,
        Progress.load(progress.as_tuple(), progress.translation).message,
    ):
        assert text == "About Emma"
        assert text.translation == title.translation


def test_earlier_versions_find_what_they_know_where_it_was():
    title = checked({"title": string(title="Emma")})["title"]

    assert Options(title=title).stored()[0] == ("title", "About Emma")
    stored = describe(JobError(string(title="Emma"))).stored()
    assert stored[:3] == ("JobError", "About Emma", True)
    assert describe(JobError("plain")).stored() == ("JobError", "plain", True)
    loaded = Failure.load(("JobError", "plain", True))
    assert loaded == describe(JobError("plain"))


class Odd(JobError):
    """An error whose text is another one."""

    def __str__(self):
        return "odd"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (JobError(string(title="Emma")), "About Emma"),
        (ValueError(string(title="Emma")), "About Emma"),
        (JobError(string(title="x" * 9_990)), "About " + "x" * 9_990),
    ],
)
def test_the_text_of_an_exception_may_be_a_translation_string(error, text):
    message = describe(error).message

    assert message == text
    assert type(message) is TranslatableText or len(text) > 9_000


def test_a_long_text_of_an_exception_is_cut():
    message = describe(JobError(string(title="x" * 20_000))).message

    assert message == "About " + "x" * (LONGEST_TEXT - 6) + "…"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Odd(string(title="Emma")), "odd"),
        (SystemExit(string(title="Emma")), "The job called sys.exit(about)"),
        (JobError(string(title="Emma"), 2), None),
        (JobError("plain"), "plain"),
    ],
)
def test_other_texts_of_exceptions_are_as_they_were(error, text):
    message = describe(error).message

    assert type(message) is str
    assert text in (message, None)


def test_a_title_is_as_long_as_it_shows():
    with pytest.raises(ValueError, match="a text of 1 to 200"):
        checked({"title": string(title="x" * 200)})
