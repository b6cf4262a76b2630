"""What the database keeps of calls and results: in the record, or apart."""

from collections.abc import Callable
from typing import Any

from ZODB.DB import DB

from ...interfaces import Connections
from ...transfer.callables import require_transferable
from ...transfer.storing import (
    is_small_and_plain,
    require_storable,
    stored_form,
)
from ..records import Outcome, PlainCall, StoredCall

__all__ = ["kept_call", "kept_result"]


def kept_call(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    named_args: dict[str, Any],
    connections: Connections,
    db: DB,
) -> PlainCall | StoredCall:
    """Give what the database keeps of a call, or refuse it.

    Raises:
        TypeError: another process could not find the function.
        ArgumentNotTransferable: something in it cannot be stored.
    """
    form = stored_form(function)
    plain = form, args, tuple(named_args.items())
    if is_small_and_plain(plain):
        return plain

    def check(value: object) -> None:
        require_storable(value, connections, db)

    require_transferable(check, function, form, args, named_args)
    return StoredCall(form, args, named_args)


def kept_result(
    value: object, connections: Connections, db: DB
) -> Outcome | None:
    """Give what keeps a result apart, or ``None`` if the record keeps it.

    Raises:
        NotTransferable: something in it cannot be stored.
    """
    if is_small_and_plain(value):
        return None
    require_storable(value, connections, db)
    return Outcome(value)
