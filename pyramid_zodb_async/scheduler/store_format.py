"""The format of a store, and the features that it may use."""

from ..exceptions import StoreNotUsable

__all__ = ["FEATURES", "FORMAT", "require_known"]

#: The format of a store; a later version of this package has a greater one.
#: Stores of all lesser ones are read, and carried on in this one.
FORMAT = 2

#: What a store of this version uses. A later version adds names here, and the
#: store keeps them, without another format; a process that lacks one of them
#: can say which.
FEATURES = ("blocks", "shards")


def require_known(number: int, features: tuple[str, ...]) -> None:
    """Refuse what this version of the package cannot use.

    Args:
        number: the format of a store.
        features: the names of the features that it uses.

    Raises:
        StoreNotUsable: a later version has written it.
    """
    if number > FORMAT:
        raise StoreNotUsable(
            f"The jobs in the database have the format {number}, and this"
            f" version of pyramid_zodb_async knows formats up to {FORMAT}:"
            " install a later version"
        )
    missing = sorted(set(features) - set(FEATURES))
    if missing:
        raise StoreNotUsable(
            "The jobs in the database use what this version of"
            f" pyramid_zodb_async lacks, {', '.join(missing)}: install a later"
            " version"
        )
