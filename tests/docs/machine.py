"""Checks what a document gives to programs of the machine."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from needed import missing

#: Where documents have everything.
FOLDER = "/srv/shop"

#: What a server of nginx is a part of. It is not to write outside of the
#: folder.
NGINX = """
daemon off;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path client;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  include {include};
}}
"""


def nginx(folder, file, port):
    """Give a command that has nginx serve what the file describes."""
    # a user's PATH may lack the place
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        missing("there is no nginx: apt-get install nginx-light")
    config = folder / f"nginx-{port}.conf"
    config.write_text(NGINX.format(include=folder / file))
    return [program, "-p", str(folder), "-e", "stderr", "-c", str(config)]


def check_unit(text, file, lines, folder):
    """Let systemd read a unit, and compare its command with the page's.

    Args:
        text: the unit's.
        file: its name.
        lines: the commands of the page.
        folder: where what is in :data:`FOLDER` is.
    """
    unit = configparser.RawConfigParser(strict=True, delimiters=["="])
    unit.optionxform = str
    unit.read_string(text)
    service = dict(unit["Service"])
    program, _, arguments = service["ExecStart"].partition(" ")
    assert service["WorkingDirectory"] == FOLDER
    assert program.startswith(f"{FOLDER}/env/bin/"), program
    command = f"{program.removeprefix(f'{FOLDER}/')} {arguments}"
    if "Environment" in service:
        command = f"{service['Environment']} {command}"
    is_template = file.partition(".")[0].endswith("@")
    assert is_template == ("%i" in command)
    pattern = re.escape(command.replace("%%", "%"))
    pattern = pattern.replace("%i", r"(?P<instance>\w+)", 1)
    pattern = pattern.replace("%i", r"(?P=instance)")
    assert any(re.fullmatch(pattern, line) for line in lines), command
    _verify(text.replace(FOLDER, str(folder)), file, folder)


def _verify(text, file, folder):
    """See that systemd has nothing to say of a unit."""
    program = shutil.which("systemd-analyze")
    if program is None:
        return  # what was compared must do
    path = folder / "units" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    said = subprocess.run(
        [program, "verify", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    ).stdout
    # it tells of the machine's own units too
    about = [line for line in said.splitlines() if path.stem in line]
    assert about == [], said


def check_crontab(text, lines):
    """Compare what cron is to run with the commands of the page."""
    for line in text.splitlines():
        *when, command = line.split(None, 5)
        assert len(when) == 5
        place, _, command = command.partition(" && ")
        assert shlex.split(place) == ["cd", FOLDER]
        assert command in lines


def use_this_environment(folder, name):
    """Have a new virtual environment be the one that tests run in."""
    (folder / name).symlink_to(Path(sys.prefix))
