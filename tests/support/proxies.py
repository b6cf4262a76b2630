"""Proxies before a server of this machine, each with rules of its own.

Apache and nginx are the real ones, from Debian's packages; each runs in a
folder of its own, and the system need not have started it. The small one does
in a few lines what others do to requests and answers.
"""

import contextlib
import hashlib
import http.client
import os
import shutil
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from needed import missing
from ports import free_port, wait_for_server

#: The modules of Apache that rules may use.
MODULES = "\n".join(
    f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so"
    for name in (
        "mpm_event",
        "authz_core",
        "brotli",
        "cache",
        "cache_socache",
        "deflate",
        "filter",
        "http2",
        "proxy",
        "proxy_http",
        "socache_shmcb",
    )
)

#: Who has nginx write into the folder of a test, which is closed to others.
USER = "" if os.geteuid() else "user root;"

APACHE = f"""\
ServerName localhost
PidFile {{folder}}/apache.pid
ErrorLog {{folder}}/apache.log
LogLevel warn
User www-data
Group www-data
Listen {{address}}
Mutex pthread
{MODULES}
# a poll that is held takes a thread
ThreadsPerChild 25
ProxyRequests Off
{{rules}}
"""

NGINX = f"""\
daemon off;
{USER}
pid {{folder}}/nginx.pid;
error_log {{folder}}/nginx.log warn;
worker_processes 1;
events {{}}
http {{
  access_log off;
  client_body_temp_path {{folder}}/client;
  proxy_temp_path {{folder}}/proxy;
  fastcgi_temp_path {{folder}}/fastcgi;
  uwsgi_temp_path {{folder}}/uwsgi;
  scgi_temp_path {{folder}}/scgi;
  proxy_http_version 1.1;
  proxy_cache_path {{folder}}/cache keys_zone=all:1m;
  server {{
    {{rules}}
  }}
}}
"""


class Proxy:
    """A proxy before a server on this machine.

    Args:
        folder: where its files are to be.
        rules: its configuration. ``{backend}`` is the URL of the server, and
            ``{address}`` where the proxy is to listen.
        backend: the server's port.
    """

    #: The program, the package of Debian that has it, and the frame.
    program = package = frame = ""

    def __init__(self, folder, rules, backend):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._config = folder / f"{self.program}.conf"
        self._log = folder / f"{self.program}.out"
        text = self.frame.replace("{rules}", rules)
        for name, value in {
            "folder": str(folder),
            "address": f"127.0.0.1:{self.port}",
            "backend": f"http://127.0.0.1:{backend}",
        }.items():
            text = text.replace(f"{{{name}}}", value)
        self._config.write_text(text)
        self._process = None

    def command(self, program):
        """Give the command that starts it, in the foreground."""
        raise NotImplementedError

    def start(self):
        """Start it, and return when it takes connections."""
        # a user's PATH may lack the place
        program = shutil.which(self.program) or shutil.which(
            self.program, path="/usr/sbin"
        )
        if program is None:
            missing(f"no {self.program}: apt-get install {self.package}")
        with self._log.open("wb") as said:
            self._process = subprocess.Popen(
                self.command(program),
                cwd=self._folder,
                stdout=said,
                stderr=said,
            )
        wait_for_server(self._process, self.port, self._log)

    def stop(self):
        """End it and its children."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)


class Apache(Proxy):
    """Apache's httpd, with mod_proxy."""

    program, package, frame = "apache2", "apache2-bin", APACHE

    def command(self, program):
        """Give the command that starts it, in the foreground."""
        return [program, "-f", self._config, "-D", "FOREGROUND"]


class Nginx(Proxy):
    """The server nginx."""

    program, package, frame = "nginx", "nginx-light", NGINX

    def command(self, program):
        """Give the command that starts it, in the foreground."""
        return [program, "-e", "stderr", "-c", self._config]


class Small:
    """A proxy in the process of the tests, which rewrites the ``Host``.

    Args:
        folder: not used.
        change: gives the new ``ETag`` of an answer, or ``None``, from the one
            that it had and its body.
        backend: the port of the server.
    """

    def __init__(self, folder, change, backend):
        class Handler(Forwarding):
            pass

        Handler.backend, Handler.change = backend, staticmethod(change)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def start(self):
        """Take connections."""
        self._thread.start()

    def stop(self):
        """Take no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Forwarding(BaseHTTPRequestHandler):
    """Asks the server for what was asked for, in its own name."""

    protocol_version = "HTTP/1.1"
    backend = change = None

    def log_message(self, *arguments):
        """Say nothing."""

    def forward(self):
        """Send the request on, and the answer back."""
        length = int(self.headers.get("Content-Length", 0))
        sent = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in {"host", "connection"}
        }
        asked = self.rfile.read(length)
        try:
            with contextlib.closing(
                http.client.HTTPConnection("127.0.0.1", self.backend)
            ) as connection:
                connection.request(self.command, self.path, asked, sent)
                answer = connection.getresponse()
                body = answer.read()
        except (OSError, http.client.HTTPException):
            self.send_error(502)
            return
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() == "etag":
                value = self.change(value, body)  # noqa: PLW2901 - what for
            if value is not None and name.lower() != "connection":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    # http.server looks for these
    do_GET = do_HEAD = do_POST = do_DELETE = forward  # noqa: N815


#: What proxies do that change nothing.
THROUGH_APACHE = "ProxyPass / {backend}/\nProxyPassReverse / {backend}/"
THROUGH_NGINX = "location / { proxy_pass {backend}; }"


def apache(*lines):
    """Give an Apache that also has these lines."""
    return Apache, "\n".join([THROUGH_APACHE, *lines])


def nginx(*lines, listen="listen {address};"):
    """Give an nginx that also has these lines, and compresses."""
    compress = "gzip on; gzip_types application/json; gzip_min_length 0;"
    lines = [listen, THROUGH_NGINX, compress, "gzip_proxied any;", *lines]
    return Nginx, "\n".join(lines)


#: The cache of nginx, for all that may be in one.
CACHE = ["proxy_cache all;", "proxy_cache_valid any 10m;"]

#: Proxies that change tags, and some that might.
CHANGING = {
    "apache-deflate": apache("SetOutputFilter DEFLATE"),
    "apache-deflate-by-type": apache(
        "AddOutputFilterByType DEFLATE application/json text/html"
    ),
    # this one adds to the tag of a 304 as well
    "apache-brotli": apache("SetOutputFilter BROTLI_COMPRESS"),
    "apache-brotli-by-type": apache(
        "AddOutputFilterByType BROTLI_COMPRESS application/json"
    ),
    "apache-no-change": apache(
        "SetOutputFilter DEFLATE", "DeflateAlterETag NoChange"
    ),
    "apache-cache": apache(
        "SetOutputFilter DEFLATE",
        "CacheEnable socache /",
        "CacheSocache shmcb",
    ),
    "nginx-gzip": nginx(),
    # where it caches, it keeps what is conditional from the server
    "nginx-cache": nginx(
        *CACHE, "proxy_set_header If-None-Match $http_if_none_match;"
    ),
    "small-coding": (Small, lambda tag, _body: f'{tag[:-1]}-gzip"'),
    "small-weak": (Small, lambda tag, _body: f"W/{tag.removeprefix('W/')}"),
}


def hashed(_tag, body):
    """Make a tag of the body alone."""
    return f'"{hashlib.md5(body).hexdigest()}"'


#: Proxies after which nothing of a tag is left.
UNRELATED = {
    "apache-remove": apache(
        "SetOutputFilter DEFLATE", "DeflateAlterETag Remove"
    ),
    "small-hashed": (Small, hashed),
    "small-remove": (Small, lambda _tag, _body: None),
}

ALL = {
    **CHANGING,
    **UNRELATED,
    "nginx-cache-alone": nginx(*CACHE),
    "nginx-http2": nginx(listen="listen {address} http2;"),
    "apache-http2": apache("Protocols h2c", "SetOutputFilter DEFLATE"),
}


@contextlib.contextmanager
def before(port, name, folder):
    """Have a proxy before the server at the port, and give it.

    Args:
        port: the port of the server.
        name: the name of the proxy in :data:`ALL`.
        folder: where its files are to be.
    """
    kind, rules = ALL[name]
    proxy = kind(folder, rules, port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
