"""What the text analyser keeps in the database."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from BTrees.OOBTree import OOBTree
from persistent import Persistent

__all__ = ["Counter", "Finding", "Text", "Texts"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What the analysis of a text found."""

    characters: int
    words: int
    distinct: int
    #: The most frequent words and how often they occur, the first one first.
    top: tuple[tuple[str, int], ...]
    found: datetime


class Body(Persistent):
    """The bytes of a text: on their own, so that listings leave them alone."""

    def __init__(self, data: bytes) -> None:
        self.data = data


class Text(Persistent):
    """A text that somebody handed in."""

    #: The sid of the job that analyses the text, or has done so.
    sid = ""
    #: What it found.
    finding: Finding | None = None

    def __init__(self, name: str, data: bytes) -> None:
        self.added = datetime.now(UTC)
        # The ids sort by time; the random part keeps the texts of one
        # moment apart, and people from guessing each other's.
        self.id = f"{self.added:%Y%m%d-%H%M%S-%f}-{secrets.token_hex(8)}"
        self.name = name
        self.size = len(data)
        self.body = Body(data)


class Texts(Persistent):
    """All texts by their ids."""

    def __init__(self) -> None:
        self._texts = OOBTree()

    def add(self, text: Text) -> None:
        """Keep *text*."""
        self._texts[text.id] = text

    def get(self, id_: str) -> Text | None:
        """Find a text by its id."""
        return self._texts.get(id_)

    def newest(self, number: int) -> Iterator[Text]:
        """Give the latest texts, the newest first."""
        return islice(reversed(self._texts.values()), number)


class Counter(Persistent):
    """Counts how often the job of the experiment has run."""

    value = 0
