"""A script that has its jobs run by the server, and waits for them."""

import os
import sys

import serve
from pyramid.paster import bootstrap

with bootstrap(sys.argv[1]) as env:
    request = env["request"]
    with request.tm:
        sid = request.schedule(serve.add, int(sys.argv[2]))
        failing = request.schedule(serve.fail)
    assert request.jobs.wait(sid, timeout=30)
    assert request.jobs.wait(failing, timeout=30)
    with request.tm:
        print(os.getpid(), request.jobs.get(sid).result)
        print(request.jobs.get(failing).failure.type)
