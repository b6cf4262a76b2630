#!/usr/bin/env bash
# A rolled back savepoint makes a ZODB connection forget a readCurrent().
#
# Packages: ZODB 6.4, transaction 5.1, persistent 6.9.
# CPython 3.11, 3.12 and 3.13.
#
# connection.readCurrent(thing) declares that a transaction depends on an
# object that it only reads: if somebody else changes that object first, the
# commit must fail with a ReadConflictError.
#
# One expects that this holds until the transaction ends, whatever is done with
# savepoints that were made after it.
#
# It does not hold if the object itself is changed after the savepoint and that
# change is taken back. Then the declaration is gone, and the transaction
# commits on a state that is out of date. That takes a second savepoint between
# the change and the rollback. A rollback that takes back a change of another
# object, or none, does no harm.
#
# What was seen:
#> no savepoint: ReadConflictError
#> savepoint, rolled back: ReadConflictError
#> savepoint, change of another object, savepoint, rolled back: ReadConflictError
#> savepoint, change of the object, rolled back: ReadConflictError
#> savepoint, change of the object, savepoint, rolled back: committed
#> the same, declared again after the rollback: ReadConflictError
#
# For an application: two transactions that each keep a rule between two
# objects can break it together, though both have declared what they rely on.
# Call readCurrent() again after a rollback, or as late as possible. Libraries
# make savepoints too: we make one to give new objects an identity, though we
# never roll it back.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" -qq install ZODB==6.4 transaction==5.1 persistent==6.9

"$work/venv/bin/python" --version
"$work/venv/bin/python" -I -W ignore - "$work" >"$work/seen" <<'EOF'
import sys

from persistent.mapping import PersistentMapping
from transaction import TransactionManager
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ReadConflictError

CASES = {
    "no savepoint": None,
    "savepoint, rolled back": "",
    "savepoint, change of another object, savepoint, rolled back": "orders",
    "savepoint, change of the object, rolled back": "shop",
    "savepoint, change of the object, savepoint, rolled back": "shop",
    "the same, declared again after the rollback": "shop",
}

for number, (case, changed) in enumerate(CASES.items()):
    db = DB(FileStorage(f"{sys.argv[1]}/{number}.fs"))
    ours = TransactionManager(explicit=True)
    theirs = TransactionManager(explicit=True)

    ours.begin()
    root = db.open(ours).root()
    root["shop"] = PersistentMapping(is_open=True)
    root["orders"] = PersistentMapping()
    ours.commit()

    # We take an order because the shop is open.
    ours.begin()
    assert root["shop"]["is_open"]
    root._p_jar.readCurrent(root["shop"])
    root["orders"]["ours"] = "a book"
    if changed is not None:
        before = ours.savepoint()
        if changed:
            root[changed]["note"] = "hello"
            if case != "savepoint, change of the object, rolled back":
                ours.savepoint()
        before.rollback()
    if case.endswith("declared again after the rollback"):
        root._p_jar.readCurrent(root["shop"])

    # They close it.
    theirs.begin()
    db.open(theirs).root()["shop"]["is_open"] = False
    theirs.commit()

    try:
        ours.commit()
    except ReadConflictError as error:
        print(f"{case}: {type(error).__name__}")
        ours.abort()
    else:
        print(f"{case}: committed")
EOF

cat "$work/seen"
if ! diff <(sed -n 's/^#> //p' "$0") "$work/seen" >"$work/differences"; then
    echo "This has changed (< then, > now):"
    cat "$work/differences"
    exit 1
fi
