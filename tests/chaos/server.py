"""Serves the counting application: server.py PORT SETTINGS-AS-JSON."""

import json
import logging
import os
import sys
import threading

import waitress
from counting import make_app


def end_with_parent():
    """End when the test's process has ended, whatever ended it."""
    while os.read(0, 1024):
        pass
    os._exit(1)


def main():
    port, settings = sys.argv[1:]
    threading.Thread(target=end_with_parent, daemon=True).start()
    logging.basicConfig(
        level=logging.INFO,
        format=(
            "%(asctime)s %(process)d %(levelname)s %(name)s"
            " [%(threadName)s] %(message)s"
        ),
    )
    app = make_app(json.loads(settings))
    waitress.serve(app, host="127.0.0.1", port=int(port), threads=4)


main()
