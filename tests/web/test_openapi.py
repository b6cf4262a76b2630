"""The OpenAPI description is one, is served, and is true in its examples."""

import json
from pathlib import Path

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

import pyramid_zodb_async

PACKAGE = Path(pyramid_zodb_async.__file__).parent
FILE = PACKAGE / "static" / "openapi.json"
DESCRIPTION = json.loads(FILE.read_text())
URI = "urn:description"

#: The names of the methods of a path, among what else may stand there.
METHODS = {"get", "head", "post", "put", "patch", "delete", "options"}


def test_it_is_valid_openapi_of_the_version_that_it_names():
    validate(DESCRIPTION, cls=OpenAPIV31SpecValidator)

    assert DESCRIPTION["openapi"].startswith("3.1.")


def test_it_is_served_beside_the_client(make_app):
    answer = make_app().get("/jobs/static/openapi.json")

    assert answer.content_type == "application/json"
    assert answer.json == DESCRIPTION


def test_it_is_served_below_the_prefix_of_the_application(make_app):
    def include(config):
        config.include("pyramid_zodb_async", route_prefix="/api")

    app = make_app(
        includes=["pyramid_tm", "pyramid_zodbconn"], configure=include
    )

    assert app.get("/api/jobs/static/openapi.json").json == DESCRIPTION


@pytest.mark.parametrize("path", ["/jobs", "/jobs/{sid}", "/jobs/{sid}/retry"])
def test_its_paths_are_those_that_answer(make_app, path):
    app = make_app()
    answer = app.options(path.format(sid="unknown"))
    described = METHODS & DESCRIPTION["paths"][path].keys()

    assert set(answer.headers["Allow"].split(", ")) == {
        method.upper() for method in described
    }


def pointers(part, pointer=""):
    """List the JSON pointers of a document, each with what is there."""
    yield pointer, part
    items = part.items() if isinstance(part, dict) else ()
    if isinstance(part, list):
        items = enumerate(part)
    for key, value in items:
        name = str(key).replace("~", "~0").replace("/", "~1")
        yield from pointers(value, f"{pointer}/{name}")


def examples():
    """List the examples of what is sent or answered, with their schemas."""
    for pointer, part in pointers(DESCRIPTION):
        if isinstance(part, dict) and "schema" in part:
            if "example" in part:
                yield pointer, part["example"]
            for example in part.get("examples", {}).values():
                while "$ref" in example:
                    *_, section, name = example["$ref"].split("/")
                    example = DESCRIPTION["components"][section][name]  # noqa: PLW2901
                yield pointer, example["value"]


@pytest.mark.parametrize(
    ("pointer", "value"),
    [pytest.param(*example, id=example[0]) for example in examples()],
)
def test_its_examples_are_what_it_says(pointer, value):
    check(f"{pointer}/schema", value)


def check(pointer, value):
    """Check a value by the schema at that place of the description."""
    registry = Registry().with_resource(
        URI, Resource(DESCRIPTION, specification=DRAFT202012)
    )
    OAS31Validator(
        {"$ref": f"{URI}#{pointer}"},
        registry=registry,
        format_checker=OAS31Validator.FORMAT_CHECKER,
    ).validate(value)


def test_each_component_is_used_or_is_for_applications():
    text = FILE.read_text()
    for section, components in DESCRIPTION["components"].items():
        for name in components:
            is_used = f'"#/components/{section}/{name}"' in text
            assert is_used or f"`{name}`" in DESCRIPTION["info"]["description"]
