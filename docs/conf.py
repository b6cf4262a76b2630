"""How Sphinx makes the documentation."""

import sys
from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "pyramid_zodb_async"
author = "The pyramid_zodb_async contributors"
version = release = version_of("pyramid-zodb-async")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
exclude_patterns = ["_build"]

# A block says its language; the tests run it accordingly.
highlight_language = "none"
nitpicky = True
# There is no network to look the names of other projects up.
nitpick_ignore = [
    ("py:class", "P"),
    ("py:class", "ZODB.Connection.Connection"),
    ("py:class", "ZODB.DB.DB"),
    ("py:class", "collections.abc.Callable"),
    ("py:class", "collections.abc.Callable[[]"),
    ("py:class", "collections.abc.Iterable"),
    ("py:class", "collections.abc.Iterator"),
    ("py:class", "collections.abc.KeysView"),
    ("py:class", "collections.abc.Sequence"),
    ("py:class", "datetime.datetime"),
    ("py:class", "datetime.timedelta"),
    ("py:class", "pyramid_zodb_async.jobs.current_job.T"),
    ("py:class", "pyramid_zodb_async.transactional.R"),
    ("py:exc", "ConfigurationError"),
    ("py:exc", "POSKeyError"),
]

# The documentation is made without Zope as well.
autodoc_mock_imports = [
    name
    for name in (
        "AccessControl",
        "Acquisition",
        "OFS",
        "ZPublisher",
        "Zope2",
        "zope.component",
    )
    if find_spec(name) is None
]

autodoc_member_order = "bysource"
python_use_unqualified_type_names = True

pygments_style = "xcode"
html_theme = "alabaster"
html_static_path = ["_static"]
html_theme_options = {
    "description": "Background jobs for Pyramid and the ZODB",
    "fixed_sidebar": True,
    "show_powered_by": False,
    "show_relbar_bottom": True,
}
html_show_copyright = False
html_show_sourcelink = False
