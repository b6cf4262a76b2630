#!/usr/bin/env bash
# New ZODB objects are empty after a rollback if there are more than the cache
# holds.
#
# Packages: ZODB 6.4, transaction 5.1, persistent 6.9.
# CPython 3.11, 3.12 and 3.13.
#
# A program makes a savepoint, stores new objects, makes another savepoint, and
# rolls back to the first one. It still has the new objects in a list.
#
# One expects that they are now objects like before they were stored: in no
# database, with the attributes that they were given. That is so as long as
# they all fit into the cache of the connection.
#
# Of more objects, those over the size of the cache have lost all attributes.
# Each savepoint writes new objects to a temporary file and lets go of the data
# of those that are too many; it can be loaded again from the file. The
# rollback takes the file away, and the objects out of their database, without
# loading them first. The rollback raises nothing, and the objects look like
# new ones of their class whose __init__ was not called. But they cannot be
# stored: a commit looks for their data in the database, and finds none.
#
# What was seen:
#> cache of 400, 400 new objects: 400 keep their name, 0 have none
#> cache of 400, 401 new objects: 400 keep their name, 1 have none
#> cache of 400, 2000 new objects: 400 keep their name, 1600 have none
#> they belong to no database: True
#> all 2000 stored again: POSKeyError at the commit
#> read once before the rollback: 2000 keep their name, 0 have none
#
# For an application: do not store objects again that a rollback has taken out,
# but make new ones. A test with few objects does not show the difference; an
# import that tries a portion again may.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" -qq install ZODB==6.4 transaction==5.1 persistent==6.9

"$work/venv/bin/python" --version
"$work/venv/bin/python" -I -W ignore - >"$work/seen" <<'EOF'
import logging

from persistent import Persistent
from persistent.mapping import PersistentMapping
from transaction import TransactionManager
from ZODB.DB import DB
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import POSKeyError

logging.disable()  # of the error below


class Book(Persistent):
    def __init__(self, name):
        self.name = name


def roll_back(number, read_first=False):
    """Give new objects that were stored and taken back."""
    manager = TransactionManager(explicit=True)
    manager.begin()
    root = DB(MappingStorage(), cache_size=400).open(manager).root()
    root["books"] = PersistentMapping()
    manager.commit()

    manager.begin()
    before = manager.savepoint()
    books = [Book(f"book {count}") for count in range(number)]
    root["books"].update(enumerate(books))
    manager.savepoint()
    if read_first:
        assert all(book.name for book in books)
    before.rollback()
    assert not root["books"]
    return books, manager, root


def told(books):
    named = sum(hasattr(book, "name") for book in books)
    return f"{named} keep their name, {len(books) - named} have none"


for number in 400, 401, 2000:
    books, manager, root = roll_back(number)
    print(f"cache of 400, {number} new objects: {told(books)}")
print("they belong to no database:", {book._p_jar for book in books} == {None})

root["books"].update(enumerate(books))
try:
    manager.commit()
except POSKeyError as error:
    print(f"all 2000 stored again: {type(error).__name__} at the commit")
    manager.abort()

books, _, _ = roll_back(2000, read_first=True)
print(f"read once before the rollback: {told(books)}")
EOF

cat "$work/seen"
if ! diff <(sed -n 's/^#> //p' "$0") "$work/seen" >"$work/differences"; then
    echo "This has changed (< then, > now):"
    cat "$work/differences"
    exit 1
fi
