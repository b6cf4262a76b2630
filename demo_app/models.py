"""What the text analyser keeps in the database."""

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from BTrees.OOBTree import OOBTree
from persistent import Persistent
from pyramid.request import Request
from pyramid_zodbconn import get_connection

__all__ = [
    "Counter",
    "Finding",
    "Library",
    "StopWords",
    "Text",
    "Texts",
    "library_of",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What the analysis of a text found."""

    characters: int
    words: int
    distinct: int
    #: How many of the words are stop words, which *top* leaves out.
    stopped: int
    #: The most frequent words and how often they occur, the first one first.
    top: tuple[tuple[str, int], ...]
    found: datetime


class Body(Persistent):
    """The bytes of a text: on their own, so that listings leave them alone."""

    def __init__(self, data: bytes) -> None:
        self.data = data


class Text(Persistent):
    """A text that somebody handed in."""

    #: By which it is found, from when it is kept.
    id = ""
    #: The sid of the job that analyses the text, or has done so.
    sid = ""
    #: What it found.
    finding: Finding | None = None

    def __init__(
        self, name: str, data: bytes, *, without_stop_words: bool = False
    ) -> None:
        self.added = datetime.now(UTC)
        self.name = name
        self.size = len(data)
        self.body = Body(data)
        self.without_stop_words = without_stop_words


class Texts(Persistent):
    """Texts by their ids."""

    def __init__(self) -> None:
        self._texts = OOBTree()

    def add(self, text: Text) -> None:
        """Keep *text*, as the newest one."""
        # The ids sort by time; the random part keeps apart the texts of one
        # moment.
        moment = datetime.now(UTC)
        text.id = f"{moment:%Y%m%d-%H%M%S-%f}-{secrets.token_hex(8)}"
        self._texts[text.id] = text

    def get(self, id_: str) -> Text | None:
        """Find a text by its id."""
        return self._texts.get(id_)

    def newest(self, number: int) -> Iterator[Text]:
        """Give the latest texts, the newest first."""
        return islice(reversed(self._texts.values()), number)


class StopWords(Persistent):
    """Words so common that they say little of a text."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = frozenset(words)


class Counter(Persistent):
    """Counts how often the job of the experiment has run."""

    value = 0


class Library(Persistent):
    """What belongs to one person."""

    #: Nobody has any to begin with.
    stop_words: StopWords | None = None

    def __init__(self) -> None:
        self.texts = Texts()
        self.counter = Counter()


def library_of(request: Request) -> Library:
    """Give the library of who is logged in, a new one the first time."""
    # Two first visitors at once conflict here, and pyramid_retry sends the
    # second one through again.
    root = get_connection(request).root()
    if "libraries" not in root:
        root["libraries"] = OOBTree()
    libraries = root["libraries"]
    userid = request.authenticated_userid
    if userid not in libraries:
        libraries[userid] = Library()
    return libraries[userid]
