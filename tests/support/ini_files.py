"""Parts of the ini files that tests write."""

#: Logs each record as a line on standard error.
LOGGERS = """
[loggers]
keys = root

[handlers]
keys = console

[formatters]
keys = plain

[logger_root]
level = INFO
handlers = console

[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain

[formatter_plain]
format = %(levelname)s %(message)s
"""


def lines(settings):
    """Give settings, of Python's names, as lines of an ini file."""
    return "\n".join(
        f"{name.replace('__', '.')} = {settings[name]}" for name in settings
    )
