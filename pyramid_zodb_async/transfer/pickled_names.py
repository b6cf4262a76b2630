"""What a pickle names, found without loading any of it."""

import pickletools

from .envelopes import part

__all__ = ["names_in"]

#: What only puts a pickle into parts.
_FRAMING = frozenset(("PROTO", "FRAME"))

_PART = f"{part.__module__}:{part.__name__}"


def names_in(data: bytes) -> set[str]:
    """Return the names of the classes and functions in a pickle.

    Args:
        data: a pickle of protocol 4 or 5, as envelopes have it.

    Returns:
        The names, as ``module:qualname``.
    """
    names: set[str] = set()
    memo: list[str] = []
    # only what was pushed as text: a global is made of the last two
    pushed = ["", ""]
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in _FRAMING:
            continue
        if opcode.name == "MEMOIZE":
            memo.append(pushed[-1])
            continue
        if opcode.name == "STACK_GLOBAL":
            names.add(":".join(pushed))
        text = argument if isinstance(argument, str) else ""
        if opcode.name.endswith("BINGET") and isinstance(argument, int):
            text = memo[argument]
        pushed = [pushed[-1], text]
    return names - {_PART}
