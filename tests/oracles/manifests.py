"""Checks manifests against the schemas that their makers publish.

manifests.py SCHEMAS MANIFEST: every document of MANIFEST must have its schema in SCHEMAS ("group/version
Kind": schema; for Kong "_format_version N": schema) and be valid under it; members that the schema does not name are
faults, as they are for `kubectl --validate=strict`. Prints what was checked, one kind a line.
"""

import json
import re
import sys

import jsonschema
import yaml


def closed(schema):
    """The schema with unknown members refused where it lists the known ones."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed_schema = {}
    for key, value in schema.items():
        if key == "properties":
            value = {name: closed(one) for name, one in value.items()}
        elif key not in ("oneOf", "anyOf", "allOf", "not"):  # these only say more about the same members
            value = closed(value)
        closed_schema[key] = value
    if "properties" in schema and "additionalProperties" not in schema:
        closed_schema["additionalProperties"] = False
    return closed_schema


schemas = json.load(open(sys.argv[1]))
# A word in double braces stands for a text.
text = re.sub(r"\{\{(\w+)\}\}", r"\1", open(sys.argv[2]).read())
faults = 0
for document in yaml.safe_load_all(text):
    if document is None:
        continue
    known = {}
    if "_format_version" in document:
        kind = f"_format_version {document['_format_version']}"
    else:
        kind = f"{document['apiVersion']} {document['kind']}"
        known = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
    schema = schemas[kind]
    schema["properties"] = {**schema["properties"], **known}
    for error in jsonschema.Draft202012Validator(closed(schema)).iter_errors(document):
        faults += 1
        print(f"{kind}: {error.json_path}: {error.message}")
    print(kind)
sys.exit(1 if faults else 0)
