#!/usr/bin/env bash
# The ZODB stores a time in the hour that comes twice as the other one of the
# two, and on Python 3.11 no time with a ZoneInfo at all.
#
# Packages: ZODB 6.4, zodbpickle 4.5, transaction 5.1, tzdata 2026.6 (also for
# systems without time zones). CPython 3.11, 3.12 and 3.13.
#
# When clocks go back, one hour comes twice. In Python the attribute fold of a
# datetime tells which of the two is meant: 0 is the first, 1 the second.
#
# One expects that a database of Python objects gives back what was stored.
#
# The second half past two comes back as the first one, an hour too early. For
# Python both are equal, so a comparison after the storing does not notice.
# Pickles have fold since protocol 4, and the ZODB writes protocol 3. The
# standard pickle keeps it by default, and loses it too with protocol 3.
#
# On Python 3.11 a ZoneInfo cannot be stored, nor a datetime that has one: the
# commit fails with a PicklingError. The standard pickle can, with protocol 3
# as well. From Python 3.12 on the ZODB can.
#
# What was seen on Python 3.11:
#3.11> no zone: fold 1 came back as 0, equal True
#3.11> Europe/Berlin: the commit raised PicklingError
#3.11> standard pickle, its default: fold 1, 01:30 UTC
#3.11> standard pickle, protocol 3: fold 0, 00:30 UTC
#
# What was seen on Python 3.12 and 3.13:
#3.12> no zone: fold 1 came back as 0, equal True
#3.12> Europe/Berlin: fold 1 came back as 0, equal True, 01:30 UTC became 00:30 UTC
#3.12> standard pickle, its default: fold 1, 01:30 UTC
#3.12> standard pickle, protocol 3: fold 0, 00:30 UTC
#
# For an application: store moments in UTC, or as seconds, and the name of the
# zone beside it. That goes for arguments of jobs too, where the ZODB keeps
# them. When a job is due, we store as seconds.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" -qq install ZODB==6.4 zodbpickle==4.5 transaction==5.1 \
    tzdata==2026.6

"$work/venv/bin/python" --version
"$work/venv/bin/python" -I -W ignore - >"$work/seen" <<'EOF'
import pickle
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import transaction
from ZODB.DB import DB
from ZODB.MappingStorage import MappingStorage

SECOND = datetime(2026, 10, 25, 2, 30, fold=1)
IN_BERLIN = SECOND.replace(tzinfo=ZoneInfo("Europe/Berlin"))


def in_utc(moment):
    return f"{moment.astimezone(UTC):%H:%M} UTC"


for name, moment in {"no zone": SECOND, "Europe/Berlin": IN_BERLIN}.items():
    root = DB(MappingStorage()).open().root()
    root["moment"] = moment
    try:
        transaction.commit()
    except Exception as error:
        print(f"{name}: the commit raised {type(error).__name__}")
        transaction.abort()
        continue
    root._p_jar.cacheMinimize()
    loaded = root["moment"]
    line = (
        f"{name}: fold {moment.fold} came back as {loaded.fold},"
        f" equal {loaded == moment}"
    )
    if moment.tzinfo:
        line += f", {in_utc(moment)} became {in_utc(loaded)}"
    print(line)

for name, protocol in {"its default": None, "protocol 3": 3}.items():
    loaded = pickle.loads(pickle.dumps(IN_BERLIN, protocol))
    print(f"standard pickle, {name}: fold {loaded.fold}, {in_utc(loaded)}")
EOF

version=$("$work/venv/bin/python" -c \
    'import sys; print("3.11" if sys.version_info < (3, 12) else "3.12")')
cat "$work/seen"
if ! diff <(sed -n "s/^#$version> //p" "$0") "$work/seen" \
    >"$work/differences"
then
    echo "This has changed (< then, > now):"
    cat "$work/differences"
    exit 1
fi
