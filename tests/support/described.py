"""The OpenAPI description, and whether an answer is what it says."""

import functools
import json
from pathlib import Path

from openapi_schema_validator import OAS31Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

import pyramid_zodb_async

FILE = Path(pyramid_zodb_async.__file__).parent / "static" / "openapi.json"
DESCRIPTION = json.loads(FILE.read_text())
URI = "urn:description"

#: The names of the methods of a path, among what else may stand there.
METHODS = {"get", "head", "post", "put", "patch", "delete", "options"}

#: The answer to all methods that are not described.
REFUSAL = "/components/responses/MethodNotAllowed"

REGISTRY = Registry().with_resource(
    URI, Resource(DESCRIPTION, specification=DRAFT202012)
)


@functools.cache
def validator(pointer):
    """Give what validates by the schema at that place."""
    return OAS31Validator(
        {"$ref": f"{URI}#{pointer}"},
        registry=REGISTRY,
        format_checker=OAS31Validator.FORMAT_CHECKER,
    )


def check(pointer, value):
    """Check a value by the schema at that place of the description."""
    validator(pointer).validate(value)


def find(pointer):
    """Give what is there, and where it is in truth."""
    found = DESCRIPTION
    for key in pointer.split("/")[1:]:
        found = found[key.replace("~1", "/").replace("~0", "~")]
    if "$ref" in found:
        return find(found["$ref"].removeprefix("#"))
    return found, pointer


def escape(key):
    return key.replace("~", "~0").replace("/", "~1")


@functools.cache
def described(path, method, status):
    """Give what is said of an answer, and where; all that is not is wrong."""
    operations = DESCRIPTION["paths"][path].keys() & METHODS
    if method not in {name.upper() for name in operations}:
        assert status == 405, f"{method} is refused with {status}"
        return find(REFUSAL)
    place = f"/paths/{escape(path)}/{method.lower()}/responses"
    assert str(status) in find(place)[0], f"{status} is not described"
    return find(f"{place}/{status}")


def conforms(answer, path, method):
    """Check that an answer has all that is described, and nothing else.

    Args:
        answer: what the application has answered.
        path: the path of the description, with its placeholders.
        method: the method of the request.
    """
    response, place = described(path, method, answer.status_int)
    conform_headers(answer, response.get("headers", {}), place)
    content = {} if method == "HEAD" else response.get("content", {})
    if not content:
        assert answer.body == b""
        return
    assert answer.content_type in content
    body = json.loads(answer.body)
    check(f"{place}/content/{escape(answer.content_type)}/schema", body)
    if answer.content_type == "application/problem+json":
        has_described_fields("Problem", body)
        return
    for document in body.get("jobs", [body]):
        kinds = {404: "UnknownJob", 413: "LargeJob"}
        kind = kinds.get(document.get("status"))
        if kind is None:
            kind = f"{document['state'].title()}Job"
            has_one_outcome(document)
        has_described_fields(kind, document)


def has_one_outcome(document):
    """Check what generators of clients do not take in a description."""
    outcomes = document.keys() & {"result", "error"}
    assert document["done"] is (document["finished"] is not None)
    assert document["done"] or document["expires"] is None
    assert len(outcomes) == document["done"]


#: Headers that an answer has only if they are described for it.
HEADERS = {"Allow", *DESCRIPTION["components"]["headers"]}


def conform_headers(answer, headers, place):
    for name in HEADERS:
        value = answer.headers.get(name)
        if name not in headers:
            assert value is None, f"{name} is not described"
            continue
        header, pointer = find(f"{place}/headers/{name}")
        if value is None:
            assert not header.get("required"), f"there is no {name}"
            continue
        if header["schema"].get("type") == "integer":
            value = int(value)
        check(f"{pointer}/schema", value)


def has_described_fields(name, document):
    """Check that a document has no field beyond those described.

    Clients ignore what they do not know, so the description allows it; but
    what this package sends should be in there.
    """
    schema = DESCRIPTION["components"]["schemas"][name]
    beyond = document.keys() - schema["properties"].keys()
    assert not beyond, f"{name} has undescribed fields: {beyond}"
