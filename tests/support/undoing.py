"""What an operator does who undoes transactions."""

import transaction


def log_of(db):
    """Tell what was committed, the last one first."""
    return [
        (entry["description"], entry["id"]) for entry in db.undoLog(0, 10_000)
    ]


def undo(db, *notes):
    """Undo the last transaction of each of these notes, in one."""
    log = log_of(db)
    ids = [
        next((identity for said, identity in log if note in said), None)
        for note in notes
    ]
    assert None not in ids, [said for said, _ in log]
    with transaction.TransactionManager(explicit=True) as current:
        current.note(f"undo of {notes[0]}")
        db.undoMultiple(ids, current)
