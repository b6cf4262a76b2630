"""Finds what the pickles of a database name of the package."""

import io
import pickletools
import re

from ZODB.FileStorage import FileStorage

PACKAGE = "pyramid_zodb_async"

#: A name that is kept as text, as that of a function or an exception is.
_TEXT = re.compile(rf"{PACKAGE}[\w.]*:[\w.]+")

_PICKLE = re.compile(rb"\x80[\x02-\x05].*\.", re.DOTALL)


def globals_in(path):
    """List the classes and functions that a FileStorage refers to."""
    return _names_in(path)[0]


def texts_in(path):
    """List what is named in texts, as ``module:qualname``."""
    return _names_in(path)[1]


def _names_in(path):
    storage = FileStorage(str(path), read_only=True)
    found, texts = set(), set()
    try:
        for transaction in storage.iterator():
            for record in transaction:
                for module, name in _walk(record.data, texts):
                    if module.split(".")[0] == PACKAGE:
                        found.add(f"{module}:{name}")
    finally:
        storage.close()
    return found, texts


def _walk(data, texts):
    """Give the globals of the pickles in *data*, one after the other."""
    stream, memo = io.BytesIO(data), {}
    while stream.tell() < len(data):
        yield from _walk_one(stream, memo, texts)


def _walk_one(stream, memo, texts):
    pushed = []
    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name in {"PROTO", "FRAME"}:
            continue
        if name == "GLOBAL":
            yield tuple(argument.split(" "))
            pushed.append(None)
        elif name == "STACK_GLOBAL":
            yield tuple(pushed[-2:])
            pushed.append(None)
        elif name == "MEMOIZE":
            memo[len(memo)] = pushed[-1]
        elif name.endswith("PUT"):  # of older protocols
            memo[argument] = pushed[-1]
        elif name.endswith("GET"):
            pushed.append(memo[argument])
        else:
            pushed.append(argument if isinstance(argument, str) else None)
        if isinstance(argument, str) and _TEXT.fullmatch(argument):
            texts.add(argument)
        if isinstance(argument, bytes) and _PICKLE.fullmatch(argument):
            # the exception of a job is a pickle in a pickle
            yield from _walk(argument, texts)
