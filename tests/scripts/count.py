"""A script that changes the database again and again, beside the server."""

import sys

import serve
from pyramid.paster import bootstrap

from pyramid_zodb_async import TransactionManager

with bootstrap(sys.argv[1]) as env:
    request = env["request"]
    with request.tm:
        for _ in range(int(sys.argv[2])):
            request.schedule(serve.add, 1)
    patient = TransactionManager(
        manager=request.tm, retry_number=100, retry_initial_delay=0.01
    )

    @patient
    def count():
        """Count one more, in a transaction of its own."""
        serve.counts(request)["total"] += 1

    for _ in range(int(sys.argv[2])):
        count()
