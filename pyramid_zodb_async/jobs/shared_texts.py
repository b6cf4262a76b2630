"""Texts that many jobs have in common, and that are in memory once."""

import functools

__all__ = ["shared_text"]


# bounded, and so not the interpreter's own table of texts: a base URL may be
# whatever a client says
@functools.lru_cache(maxsize=1024)
def shared_text(text: str) -> str:
    """Return an equal text that other jobs have as well, if there is one.

    Args:
        text: a text without a meaning of its own type, such as the name of a
            function or a base URL.
    """
    return text
