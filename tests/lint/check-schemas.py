#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the codecs to the schemas, and the schemas to the codecs.

What the encoders write must satisfy the schemas. Documents are made from the schemas (only what is required, everything,
and each of those with one member removed, mistyped or at and beyond its limit): schema and decoder must agree on each.

usage: check-schemas.py PROTO_TOOL SCHEMA_DIR
"""

import copy
import json
import pathlib
import subprocess
import sys

from jsonschema import Draft202012Validator

WRONG_TYPES = [None, True, 7, -1, 1.5, 2**53, 1e300, "", "a b", "a..b", "*", "\u0000", [], [1], {}, {"a": 1}]


def resolve(schema, root):
    while isinstance(schema, dict) and "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def kind_of(schema):
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return next((k for k in kinds if k != "null"), None)


def make(schema, root, full):
    """A document that satisfies `schema`: all of it, or only what is required."""
    schema = resolve(schema, root)
    if schema is True:
        return {"any": ["thing", None]}
    if "examples" in schema:
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    kind = kind_of(schema)
    if kind == "object":
        wanted = schema.get("properties", {}) if full else schema.get("required", [])
        return {name: make(schema["properties"][name], root, full) for name in wanted}
    if kind == "array":
        return [make(schema["items"], root, full)] if full else []
    if kind == "integer":
        return schema.get("minimum", 0) + (1 if full else 0)
    return {"number": 1.25, "boolean": True, "string": "text", None: {}}[kind]


def limits(schema, root):
    """Values at each limit that the schema states, and just beyond."""
    values = []
    if "minimum" in schema:
        values += [schema["minimum"], schema["minimum"] - 1, schema["minimum"] + 0.5, float(schema["minimum"])]
    if "maximum" in schema:
        values += [schema["maximum"], schema["maximum"] + 1]
    if "maxLength" in schema:
        values += ["x" * schema["maxLength"], "x" * (schema["maxLength"] + 1)]
    if "pattern" in schema:
        values += ["x" * 64, "x" * 65, "-_Z9"]
    if "maxItems" in schema:
        item = make(schema["items"], root, True)
        values += [[item] * schema["maxItems"], [item] * (schema["maxItems"] + 1)]
    if "maxProperties" in schema:
        values += [{f"k{i}": "v" for i in range(schema["maxProperties"] + extra)} for extra in (0, 1)]
        values += [{"k" * 64: "v"}, {"k" * 65: "v"}, {"": ""}, {"k": "v" * 65}, {"k": 1}]
    values += schema.get("enum", [])
    return values


def places(schema, root, path=()):
    """(path, schema) of every member and array element below."""
    schema = resolve(schema, root)
    if not isinstance(schema, dict):
        return
    for name, sub in schema.get("properties", {}).items():
        yield path + (name,), resolve(sub, root)
        yield from places(sub, root, path + (name,))
    if "items" in schema:
        yield path + (0,), resolve(schema["items"], root)
        yield from places(schema["items"], root, path + (0,))


def parent_of(document, path):
    for step in path[:-1]:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return None
    return document if isinstance(document, (dict, list)) else None


def variants(base, schema, root):
    yield base
    for path, sub in places(schema, root):
        if parent_of(base, path) is None:
            continue
        removed = copy.deepcopy(base)
        parent = parent_of(removed, path)
        if isinstance(parent, dict) and path[-1] in parent:
            del parent[path[-1]]
            yield removed
        for value in WRONG_TYPES + (limits(sub, root) if isinstance(sub, dict) else []):
            changed = copy.deepcopy(base)
            parent = parent_of(changed, path)
            if isinstance(parent, dict):
                parent[path[-1]] = value
            elif parent:
                parent[0] = value
            else:
                continue
            yield changed


def beyond_schemas(name, document):
    """What a decoder checks and no schema can say: payload.part.index is below count."""
    if name != "AgentRuntimeRegistered":
        return False
    part = document
    for step in ("payload", "part"):
        part = part.get(step) if isinstance(part, dict) else None
    if not isinstance(part, dict):
        return False
    index, count = part.get("index"), part.get("count")
    return all(isinstance(v, (int, float)) for v in (index, count)) and index >= count


def run(tool, mode, lines=()):
    text = "".join(lines)
    done = subprocess.run([tool, mode], input=text, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def check_samples(tool, validators):
    failures = 0
    lines = run(tool, "samples")
    seen = set()
    again = run(tool, "check", [line + "\n" for line in lines])
    for line, verdict in zip(lines, again, strict=True):
        name, text = line.split("\t", 1)
        seen.add(name)
        word, second = verdict.split("\t", 1)
        documents = [text] + ([second] if word == "ok" else [])
        errors = [e for d in documents for e in validators[name].iter_errors(json.loads(d))]
        if errors or word != "ok":
            failures += 1
            print(f"{name}: encoded {text}: {errors[0].message if errors else second}")
    for name in sorted(set(validators) - seen):
        failures += 1
        print(f"{name}: the tool writes no sample of it")
    return len(lines), failures


def check_documents(tool, name, validator):
    root = validator.schema
    documents = [d for full in (False, True) for d in variants(make(root, root, full), root, root)]
    documents = [d for d in documents if not beyond_schemas(name, d)]
    verdicts = run(tool, "check", [f"{name}\t{json.dumps(d)}\n" for d in documents])
    failures = 0
    n_valid = 0
    for document, verdict in zip(documents, verdicts, strict=True):
        error = next(validator.iter_errors(document), None)
        n_valid += error is None
        if (error is None) != verdict.startswith("ok\t"):
            failures += 1
            print(f"{name}: {json.dumps(document)[:300]}\n  schema: {error.message[:200] if error else 'ok'}\n  decoder: {verdict[:200]}")
        if verdict.startswith("ok\t"):
            wrong = next(validator.iter_errors(json.loads(verdict[3:])), None)
            if wrong is not None:
                failures += 1
                print(f"{name}: encoded again {verdict[3:][:300]}: {wrong.message[:200]}")
    if not 0 < n_valid < len(documents):
        failures += 1
        print(f"{name}: the documents are all valid or all invalid; the generator is broken")
    return len(documents), failures


def main():
    tool, directory = sys.argv[1:]
    validators = {}
    for path in sorted(pathlib.Path(directory).glob("*.json")):
        schema = json.loads(path.read_text())
        Draft202012Validator.check_schema(schema)
        validators[path.stem] = Draft202012Validator(schema)

    n_samples, failures = check_samples(tool, validators)
    n_documents = 0
    for name, validator in validators.items():
        n, failed = check_documents(tool, name, validator)
        n_documents += n
        failures += failed
    print(f"{len(validators)} schemas, {n_samples} samples, {n_documents} documents, {failures} disagreements")
    return 1 if failures else 0


sys.exit(main())
