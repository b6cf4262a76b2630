"""What servers for WSGI load."""

from site_app import make

application = make()
