#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds docs/protocol.md to the schemas, the decoders, the subjects and the error codes: whoever writes a runtime goes by that page.

Each fenced block "json TYPE" must satisfy proto/schemas/TYPE.json and be taken by the decoder. Every type has one; every member that a
schema knows is in a sample of it or named in the page; every error code stands there with its number, every subject with its placeholders.

usage: check-protocol.py PROTO_TOOL
"""

import json
import pathlib
import re
import subprocess
import sys

from jsonschema import Draft202012Validator

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "protocol.md"
RESERVED = {"CANCEL", "DURABLE_TRIGGER", "EXECUTION_DEAD_LETTERED", "RESULT"}  # subjects of what is not in this version, or a convention

problems = []


def blocks(text):
    """(line number, words after the fence, body) of each fenced block."""
    for match in re.finditer(r"^```(\S*)[ ]?(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE):
        yield text.count("\n", 0, match.start()) + 1, (match[1], match[2].strip()), match[3]


def members(schema):
    """Every name of a member that the schema and its $defs know."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "properties":
                yield from value
            yield from members(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from members(value)


def names_in(document):
    if isinstance(document, dict):
        for key, value in document.items():
            yield key
            yield from names_in(value)
    elif isinstance(document, list):
        for value in document:
            yield from names_in(value)


def main(tool):
    text = PAGE.read_text(encoding="utf-8")
    schemas = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "proto" / "schemas").glob("*.json")}
    samples = []
    for line, (language, kind), body in blocks(text):
        if language != "json":
            continue
        try:
            document = json.loads(body)
        except ValueError as error:
            problems.append(f"{line}: no JSON: {error}")
            continue
        if kind not in schemas:
            problems.append(f"{line}: the fence names no schema: {kind or 'nothing'}")
            continue
        for error in Draft202012Validator(schemas[kind]).iter_errors(document):
            problems.append(f"{line}: {kind}: {error.json_path}: {error.message}")
        samples.append((line, kind, document))

    said = set(re.findall(r"[A-Za-z_]+", " ".join(re.findall(r"`([^`\n]+)`", text))))
    for kind, schema in sorted(schemas.items()):
        shown = {name for _, other, document in samples if other == kind for name in names_in(document)}
        if not shown:
            problems.append(f"{kind} has no sample")
        for name in sorted(set(members(schema)) - shown - said):
            problems.append(f"{kind}: the member {name} is in no sample and named nowhere")

    lines = "".join(f"{kind}\t{json.dumps(document)}\n" for _, kind, document in samples)
    verdicts = subprocess.run([tool, "check"], input=lines, capture_output=True, text=True, check=True).stdout.splitlines()
    if len(verdicts) != len(samples):
        problems.append(f"{tool} gave {len(verdicts)} verdicts on {len(samples)} samples")
    for (line, kind, _), verdict in zip(samples, verdicts):
        if not verdict.startswith("ok\t"):
            problems.append(f"{line}: the decoder of {kind} refuses it: {verdict}")

    header = (ROOT / "proto" / "error_code.h").read_text(encoding="utf-8")
    for code, number in re.findall(r"X\((\w+), (\d+),", header):
        if f"| `{code}` | {number} |" not in text:
            problems.append(f"the error code {code} ({number}) is missing")

    header = (ROOT / "proto" / "subject.h").read_text(encoding="utf-8")
    flat = re.sub(r"<[a-z_]+>", "%", text)
    for name, pattern in re.findall(r'X\((\w+), +"([^"]+)"\)', header):
        wanted = "compozy." + re.sub(r"%\d", "%", pattern)
        if name not in RESERVED and wanted not in flat and not (
                name.startswith("EXECUTION_") and f"`{pattern.rpartition('.')[2]}`" in text):
            problems.append(f"the subject {pattern} is missing")

    for problem in problems:
        print(f"{PAGE.relative_to(ROOT)}:{problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
