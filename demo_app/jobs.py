"""What runs in the background; nothing here knows of requests."""

import codecs
import re
import time
from collections import Counter as Tally
from datetime import UTC, datetime

from pyramid_zodb_async import JobError, current_job

from .models import Counter, Finding, Text

__all__ = ["analyse", "count_up"]

STEPS = 50
SHOWN = 12

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")  # noqa: RUF001


def analyse(
    text: Text, seconds_per_megabyte: float = 0
) -> list[tuple[str, int]]:
    """Count the words of *text*, and leave the finding on it.

    A megabyte is counted in a blink, too fast to watch; therefore
    *seconds_per_megabyte* slows the counting down.
    """
    content = decode(text)
    pieces = cut(content)
    nap = seconds_per_megabyte * text.size / 1e6 / max(len(pieces), 1)
    tally: Tally[str] = Tally()
    for piece in current_job().track(
        pieces, message=lambda _piece: f"{tally.total():,} words so far"
    ):
        tally.update(word.casefold() for word in WORD.findall(piece))
        time.sleep(nap)
    text.finding = Finding(
        characters=len(content),
        words=tally.total(),
        distinct=len(tally),
        top=tuple(tally.most_common(SHOWN)),
        found=datetime.now(UTC),
    )
    return list(text.finding.top)


def decode(text: Text) -> str:
    """Give the characters of *text*.

    Raises:
        JobError: it has none. Its message is for the person who sent it.
    """
    data = text.body.data
    is_utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        content = data.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError:
        content = "\0"
    if "\0" in content:
        raise JobError(
            f"“{text.name}” cannot be read as text. It is probably a picture,"
            " a program or another kind of file. If it is a text, save it in"
            " the encoding UTF-8 and try again."
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
