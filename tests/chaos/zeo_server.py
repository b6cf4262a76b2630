"""Serves a database as runzeo does, and never gives an oid out twice.

A server of ZEO that was killed does not know which oids it had given out, and
gives them out again; clients that live on have some of them left (ZEO 6.2).
When a client finds an object of its cache to have the oid of its new one, it
takes the oid from both (ZODB 6.4), and the next commit of what refers to the
old one writes that as a new object, as it was. This loses what others have
committed to it, of whatever application: it needs no job.
"""

from ZEO.runzeo import main
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, u64

#: More than clients can have left.
GIVEN_OUT = 100_000

make = FileStorage.__init__


def make_ahead(self, *args, **kw):
    make(self, *args, **kw)
    self.set_max_oid(p64(u64(self._oid) + GIVEN_OUT))


FileStorage.__init__ = make_ahead
main()
