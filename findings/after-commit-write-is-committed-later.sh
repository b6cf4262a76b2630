#!/usr/bin/env bash
# A write that was refused after a commit is committed by somebody else later.
#
# Packages: transaction 5.1, ZODB 6.4, persistent 6.9, BTrees 6.5.
# CPython 3.11, 3.12 and 3.13.
#
# A hook that runs after a commit changes a persistent object. The transaction
# is over, so the change is refused with a ValueError, which the hook catches.
#
# One expects that a refused change is no change. Besides, the transaction
# aborts all its participants when the hooks have run.
#
# A PersistentMapping, a PersistentList and a BTree that is not empty change
# their data first and ask afterwards. The object is not noted as changed, so
# the abort leaves it as it is, and so does the connection when it goes back to
# the pool. The next one who gets that connection sees the refused change. If
# that one changes something else in the object, the refused change is
# committed with it. A plain attribute asks first, and leaves nothing behind.
#
# What was seen:
#> PersistentMapping: hook got ValueError, next reader sees ['hook', 'old'], stored after a later write ['hook', 'later', 'old']
#> PersistentList: hook got ValueError, next reader sees ['hook', 'old'], stored after a later write ['hook', 'later', 'old']
#> OOBTree: hook got ValueError, next reader sees ['hook', 'old'], stored after a later write ['hook', 'later', 'old']
#> Plain: hook got ValueError, next reader sees ['old'], stored after a later write ['later', 'old']
#
# For an application: a hook after a commit must not write on the connection of
# the transaction, not even in a try block. It should take a transaction
# manager and a connection of its own, or only pass on what there is to do. Our
# hook only gives the names of the new jobs to those who run them.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" -qq install ZODB==6.4 transaction==5.1 persistent==6.9 \
    BTrees==6.5

"$work/venv/bin/python" --version
"$work/venv/bin/python" -I -W ignore - >"$work/seen" <<'EOF'
from BTrees.OOBTree import OOBTree
from persistent import Persistent
from persistent.list import PersistentList
from persistent.mapping import PersistentMapping
from transaction import TransactionManager
from ZODB.DB import DB
from ZODB.MappingStorage import MappingStorage


WORDS = "hook", "later", "old"


class Plain(Persistent):
    pass


def put(thing, word):
    if isinstance(thing, Plain):
        setattr(thing, word, True)
    elif isinstance(thing, PersistentList):
        thing.append(word)
    else:
        thing[word] = True


def words(thing):
    if isinstance(thing, Plain):
        return [word for word in WORDS if hasattr(thing, word)]
    return sorted(thing)


def visit(db, function):
    """Like a request: a connection from the pool, and a transaction."""
    manager = TransactionManager(explicit=True)
    manager.begin()
    connection = db.open(manager)
    result = function(connection.root(), manager.get())
    manager.commit()
    connection.close()
    return result


def write_in_hook(root, transaction):
    thing = root["thing"]
    words(thing)  # it is loaded

    def hook(is_committed):
        try:
            put(thing, "hook")
        except ValueError as error:
            errors.append(type(error).__name__)

    transaction.addAfterCommitHook(hook)
    root["anything"] = True


def stored(root, transaction):
    root._p_jar.cacheMinimize()
    return words(root["thing"])


for kind in PersistentMapping, PersistentList, OOBTree, Plain:
    errors = []
    db = DB(MappingStorage())
    visit(db, lambda root, _: root.update(thing=kind()))
    visit(db, lambda root, _: put(root["thing"], "old"))
    visit(db, write_in_hook)
    seen = visit(db, lambda root, _: words(root["thing"]))
    visit(db, lambda root, _: put(root["thing"], "later"))
    print(
        f"{kind.__name__}: hook got {', '.join(errors)}, next reader sees"
        f" {seen}, stored after a later write {visit(db, stored)}"
    )
EOF

cat "$work/seen"
if ! diff <(sed -n 's/^#> //p' "$0") "$work/seen" >"$work/differences"; then
    echo "This has changed (< then, > now):"
    cat "$work/differences"
    exit 1
fi
