"""The static files of the package, and how long browsers keep them."""

import shutil
from pathlib import Path

import pytest
from pyramid.response import Response

import pyramid_zodb_async
from pyramid_zodb_async.web.static_files import VERSION, version_of

STATIC = Path(pyramid_zodb_async.__file__).parent / "static"
FILES = sorted(path.name for path in STATIC.iterdir())

YEAR = "public, max-age=31536000, immutable"


def path_of(name):
    def view(request):
        return Response(
            request.static_path(f"pyramid_zodb_async:static/{name}")
        )

    return view


@pytest.mark.parametrize("name", FILES)
def test_a_versioned_file_is_kept_for_a_year(make_app, name):
    app = make_app({"/view": path_of(name)})
    path = app.get("/view").text
    answer = app.get(path)

    assert path == f"/jobs/static/{VERSION}/{name}"
    assert answer.body == (STATIC / name).read_bytes()
    assert answer.headers["Cache-Control"] == YEAR


@pytest.mark.parametrize("name", FILES)
def test_one_without_a_version_is_asked_for_again(make_app, name):
    app = make_app()
    answer = app.get(f"/jobs/static/{name}")

    assert answer.body == (STATIC / name).read_bytes()
    assert answer.headers["Cache-Control"] == "no-cache"
    since = {"If-Modified-Since": answer.headers["Last-Modified"]}
    again = app.get(f"/jobs/static/{name}", headers=since, status=304)
    assert again.headers["Cache-Control"] == "no-cache"


def test_a_server_of_another_version_answers_but_not_for_long(make_app):
    app = make_app()
    answer = app.get("/jobs/static/0123456789abcdef/jobs.js")

    assert answer.body == (STATIC / "jobs.js").read_bytes()
    assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/none.js",
        "/0123456789abcdef",
        "/0123456789abcdef/",
        "/else/jobs.js",
        "/../assets.py",
        f"/{VERSION}/none.js",
        f"/{VERSION}/../../assets.py",
    ],
)
def test_what_is_not_there_is_not_kept(make_app, path):
    answer = make_app().get(f"/jobs/static{path}", status=[301, 302, 404])

    assert "Cache-Control" not in answer.headers or (
        answer.headers["Cache-Control"] == "private, no-cache"
    )


def test_files_need_no_root_of_the_application(make_app):
    def root(request):
        raise RuntimeError("no root for this")

    app = make_app(root=root)
    app.get("/jobs/static/jobs.js", status=200)
    app.get(f"/jobs/static/{VERSION}/jobs.js", status=200)


def test_files_are_for_all_who_can_see_a_page(make_app):
    def configure(config):
        config.set_default_permission("edit")

    app = make_app(configure=configure)
    app.get("/jobs/static/jobs.js", status=200)
    app.get(f"/jobs/static/{VERSION}/jobs.js", status=200)


def test_the_version_is_another_when_any_file_is(tmp_path):
    copy = tmp_path / "static"
    shutil.copytree(STATIC, copy)
    assert version_of(copy) == VERSION

    with (copy / "jobs.js").open("a") as file:
        file.write("\n")
    assert version_of(copy) != VERSION


def test_what_one_application_overrides_is_so_in_no_other(make_app, tmp_path):
    spec = "pyramid_zodb_async:static/jobs.js"
    own = tmp_path / "own.js"
    own.write_text("// mine")
    path = "/jobs/static/jobs.js"
    overriding = make_app(
        configure=lambda config: config.override_asset(spec, str(own))
    )
    first, second = overriding.get(path), make_app().get(path)

    assert first.body == b"// mine"
    assert second.body == (STATIC / "jobs.js").read_bytes()
