"""Numbers of any library as plain ones, which JSON and databases know."""

import math
import numbers
import operator
from decimal import Decimal
from typing import Any

__all__ = ["plain_number"]


def plain_number(value: Any) -> int | float | None:
    """Return a number as an ``int`` or a ``float``.

    Args:
        value: the number. Besides those of Python, these are numbers that
            have ``__index__``, as whole numbers have, or are a
            ``numbers.Real``, as those of numpy are.

    Returns:
        An ``int`` for a whole number that says so by ``__index__``, else a
        ``float``, which is infinite if the value is too large for it;
        ``None`` if the value is no number.
    """
    is_whole = hasattr(type(value), "__index__")
    if isinstance(value, bool) or not (
        is_whole or isinstance(value, numbers.Real | Decimal)
    ):
        return None
    try:
        return operator.index(value) if is_whole else float(value)
    except OverflowError:
        return math.inf
    except ValueError:  # a Decimal that is a signalling NaN
        return math.nan
    except TypeError:  # an array of numpy, which is not one number
        return None
