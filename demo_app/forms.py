"""What people and programs hand in."""

from typing import Any

from pyramid.httpexceptions import HTTPBadRequest, HTTPRequestEntityTooLarge
from pyramid.request import Request

from .models import Text

__all__ = ["MEGABYTE", "MOST_FILES", "MOST_MEGABYTES", "submitted"]

MEGABYTE = 1_000_000
#: Of one object the ZODB stores comfortably less than 16 megabytes.
MOST_MEGABYTES = 10
#: At once.
MOST_FILES = 20
TITLE_LENGTH = 40


def submitted(request: Request) -> list[Text]:
    """Give the texts in *request*, at least one.

    Raises:
        HTTPRequestEntityTooLarge: they are too long.
        HTTPBadRequest: there are none, or too many, or one is empty.
    """
    # The form adds a little to the texts.
    if (request.content_length or 0) > MOST_MEGABYTES * MEGABYTE + 10_000:
        raise HTTPRequestEntityTooLarge(
            f"This is too long. Up to {MOST_MEGABYTES} megabytes go at once."
        )
    try:
        fields = [
            *request.POST.getall("file"),
            *request.POST.getall("text"),
        ]
    except (ValueError, DeprecationWarning):
        # This is how webob refuses charsets other than UTF-8.
        raise HTTPBadRequest(
            "The form cannot be read; it must be in UTF-8."
        ) from None
    if not fields:
        raise HTTPBadRequest(
            "Send the text as the form field “text”, or files as “file”."
        )
    # A browser sends both fields, and an empty one for no choice of a file.
    texts = [named(field) for field in fields if field not in (b"", "")]
    if len(texts) > MOST_FILES:
        raise HTTPBadRequest(
            f"These are {len(texts)} texts; hand in up to {MOST_FILES} at"
            " once."
        )
    if not texts:
        raise HTTPBadRequest(
            "There is nothing to analyse: choose a file, or paste a text."
        )
    without_stop_words = bool(request.POST.get("without_stop_words"))
    return [
        Text(name, data, without_stop_words=without_stop_words)
        for name, data in texts
    ]


def named(field: Any) -> tuple[str, bytes]:
    """Give the name and the bytes of a file, or of a pasted text.

    Raises:
        HTTPBadRequest: it is empty.
    """
    if hasattr(field, "file"):
        name, data = field.filename, field.file.read()
        whose = f"“{name}” is empty"
    else:
        name, data = title_of(field), field.encode()
        whose = "The pasted text is blank"
    if not data.strip():
        raise HTTPBadRequest(f"{whose}, so there is nothing to analyse.")
    return name, data


def title_of(content: str) -> str:
    """Call a pasted text by how it begins."""
    beginning = " ".join(content[:200].split())
    if len(beginning) <= TITLE_LENGTH:
        return beginning
    return f"{beginning[: TITLE_LENGTH - 1]}…"
