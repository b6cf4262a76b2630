"""Words and texts for those who have none at hand."""

import re
from pydoc_data.topics import topics

__all__ = ["ENGLISH", "PARTS", "python_reference"]

#: In how many parts the sample comes.
PARTS = 4

#: Stop words of English.
ENGLISH = frozenset(
    re.findall(
        r"\w+",
        """
    a about after again all also am an and any are as at be because been
    before being between both but by can cannot could did do does doing down
    during each either else few first for from further had has have having he
    her here him his how however i if in into is it its just like made make
    many may me might more most much must my neither new no non none nor not
    now of off on once one only or other our out over own same see shall she
    should since so some such than that the their them then there these they
    this those through to too two under until up upon us use used using very
    was we were what when where whether which while who whom whose why will
    with within without would yet you your
    """,
    )
)


def python_reference() -> list[tuple[str, str]]:
    """Give the texts behind Python's ``help()``, as names and contents."""
    names = sorted(topics)
    return [
        (
            f"Python’s reference, part {part + 1} of {PARTS}",  # noqa: RUF001
            "\n".join(topics[name] for name in names[part::PARTS]),
        )
        for part in range(PARTS)
    ]
