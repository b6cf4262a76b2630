"""What servers for ASGI load."""

from a2wsgi import WSGIMiddleware
from site_app import make

application = WSGIMiddleware(make())
