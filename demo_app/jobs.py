"""What runs in the background; nothing here knows of requests."""

import codecs
import re
import time
from collections import Counter as Tally
from datetime import UTC, datetime

from pyramid_zodb_async import JobError, current_job

from .models import Counter, Finding, Library, Text

__all__ = ["NoStopWords", "NotAText", "analyse", "count_up"]

STEPS = 50
SHOWN = 12

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")  # noqa: RUF001


class NotAText(JobError):
    """The bytes are no text, and will not become one."""


class NoStopWords(JobError):
    """There is no list of stop words, but there may be one later."""


def analyse(
    text: Text, library: Library, seconds_per_megabyte: float = 0
) -> list[tuple[str, int]]:
    """Count the words of *text*, and leave the finding on it.

    A megabyte is counted in a blink, too fast to watch; therefore
    *seconds_per_megabyte* slows the counting down.
    """
    stop_words = find_stop_words(library) if text.without_stop_words else set()
    content = decode(text)
    pieces = cut(content)
    nap = seconds_per_megabyte * text.size / 1e6 / max(len(pieces), 1)
    tally: Tally[str] = Tally()
    for piece in current_job().track(
        pieces, message=lambda _piece: f"{tally.total():,} words"
    ):
        tally.update(word.casefold() for word in WORD.findall(piece))
        time.sleep(nap)
    words, distinct = tally.total(), len(tally)
    for word in stop_words:
        tally.pop(word, None)
    text.finding = Finding(
        characters=len(content),
        words=words,
        distinct=distinct,
        stopped=words - tally.total(),
        top=tuple(tally.most_common(SHOWN)),
        found=datetime.now(UTC),
    )
    return list(text.finding.top)


def find_stop_words(library: Library) -> frozenset[str]:
    """Give the stop words of *library*.

    Raises:
        NoStopWords: there are none yet.
    """
    if library.stop_words is None:
        raise NoStopWords(
            "The stop words are to be left out, but there is no list of them"
            " yet. Install one, and try again."
        )
    return library.stop_words.words


def decode(text: Text) -> str:
    """Give the characters of *text*.

    Raises:
        NotAText: it has none. Its message is for the person who sent it.
    """
    data = text.body.data
    is_utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        content = data.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError:
        content = "\0"
    if "\0" in content:
        raise NotAText(
            f"“{text.name}” cannot be read as text. It is probably a picture,"
            " a program or another kind of file. If it is a text, save it in"
            " the encoding UTF-8 and hand it in again."
        )
    return content


def cut(content: str) -> list[str]:
    """Cut *content* into some :data:`STEPS` pieces, but no word in two."""
    size = len(content) // STEPS + 1
    return re.findall(rf"(?s).{{1,{size}}}\S*", content)


def count_up(counter: Counter) -> int:
    """Show that a job has run: after it *counter* is higher by one."""
    counter.value += 1
    return counter.value
