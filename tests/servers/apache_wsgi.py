"""Apache with mod_wsgi, which is configured by a file, and not by options."""

import os
import shutil

from folders import TESTS
from proxies import APACHE

RULES = """\
LoadModule wsgi_module {module}
WSGIPythonHome {home}
WSGIRestrictEmbedded On
WSGISocketPrefix {folder}/wsgi
WSGIDaemonProcess site threads=8 shutdown-timeout=90
WSGIProcessGroup site
WSGIApplicationGroup %{GLOBAL}
WSGIScriptAlias / {script}
<Directory {folder}>
Require all granted
</Directory>
"""

#: Lets what is started by root read what root alone can, as root would, though
#: it is another user: mod_wsgi runs nothing as root.
AS_ROOT = [
    *("setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups"),
    *("--inh-caps=+dac_override", "--ambient-caps=+dac_override"),
]


def find_module(home):
    """Give mod_wsgi as pip has built it for this environment, if it has."""
    found = home.glob("lib/*/site-packages/mod_wsgi/server/mod_wsgi*.so")
    return next(found, None)


def script_of(folder):
    """Give the script that Apache loads, and loads again when it is new."""
    return folder / "wsgi_site.wsgi"


def command(folder, port, home):
    """Give the command that starts it in the foreground."""
    shutil.copy(TESTS / "servers/wsgi_site.py", script_of(folder))
    text = APACHE.replace("{rules}", RULES)
    for name, value in {
        "folder": folder,
        "address": f"127.0.0.1:{port}",
        "module": find_module(home),
        "home": home,
        "script": script_of(folder),
    }.items():
        text = text.replace(f"{{{name}}}", str(value))
    config = folder / "apache.conf"
    config.write_text(text)
    program = shutil.which("apache2") or "/usr/sbin/apache2"
    is_root = not os.geteuid()
    return [
        *(AS_ROOT if is_root else []),
        *(program, "-f", config, "-D", "FOREGROUND"),
    ]
