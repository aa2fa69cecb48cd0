#!/usr/bin/env python3
"""Prints the licences of all that is linked into a program: third-party.py PACKAGE.

From the sources that cargo has for Cargo.lock. Most of the licences ask to be handed on with binaries.
"""

import json
import pathlib
import re
import subprocess
import sys

NOTICES = re.compile(r"^(LICEN[CS]E|COPYING|COPYRIGHT|NOTICE|UNLICENSE)", re.IGNORECASE)


def linked(metadata, program):
    """Packages of others that are linked into `program`: normal dependencies, and theirs."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [id for id, package in packages.items() if package["name"] == program]
    seen = set(waiting)
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if normal and dependency["pkg"] not in seen:
                seen.add(dependency["pkg"])
                waiting.append(dependency["pkg"])
    return sorted((packages[id] for id in seen if packages[id]["source"]),
                  key=lambda package: (package["name"], package["version"]))


def texts(package):
    """The files in which a package says its licence, at its top."""
    folder = pathlib.Path(package["manifest_path"]).parent
    for path in sorted(folder.iterdir()):
        if path.is_file() and NOTICES.match(path.name):
            text = path.read_text(encoding="utf-8", errors="replace")
            yield "\n".join(line.rstrip() for line in text.splitlines()).strip()


def main():
    host = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    host = re.search(r"^host: (.+)$", host, re.MULTILINE)[1]
    metadata = json.loads(subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", host],
        check=True, capture_output=True, text=True).stdout)
    packages = linked(metadata, sys.argv[1])
    said_by = {}
    print("Linked into this program, by name, version and licence:\n")
    for package in packages:
        name = f"{package['name']} {package['version']}"
        print(f"  {name}: {package['license'] or 'see its text'}")
        for text in texts(package):
            said_by.setdefault(text, []).append(name)
    for text, names in said_by.items():
        print(f"\n{'-' * 78}\n{', '.join(names)}:\n\n{text}")


main()
