#!/usr/bin/env python3
"""Writes debian/changelog from Cargo.toml and CHANGELOG.md.

Usage: changelog.py [VERSION], in the root of the tree, with SOURCE_DATE_EPOCH set. Without VERSION:
the workspace's, and `~dev` with the date while CHANGELOG.md has no section for it.
"""

import email.utils
import os
import re
import sys
import textwrap
import time
import tomllib


def sections(text):
    """Heads and bodies of the second-level sections."""
    parts = re.split(r"^## \[(.+?)\].*$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def main():
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    with open("Cargo.toml", "rb") as file:
        version = tomllib.load(file)["workspace"]["package"]["version"]
    with open("CHANGELOG.md", encoding="utf-8") as file:
        changes = sections(file.read())
    body = changes.get(version)
    if body is None:
        body = changes["Unreleased"]
        version += time.strftime("~dev%Y%m%d%H%M%S", time.gmtime(epoch))
    if len(sys.argv) > 1:
        version = sys.argv[1]
    with open("debian/control", encoding="utf-8") as file:
        maintainer = re.search(r"^Maintainer: (.+)$", file.read(), re.MULTILINE)[1]

    lines = [f"signet ({version}) unstable; urgency=medium", ""]
    for line in body.splitlines():
        line = line.replace("`", "")
        if line.startswith("### "):
            lines += [f"  [ {line[4:]} ]"]
        elif line.startswith("- "):
            lines += textwrap.wrap(line[2:], 78, initial_indent="  * ", subsequent_indent="    ",
                                   break_on_hyphens=False)
    lines += ["", f" -- {maintainer}  {email.utils.formatdate(epoch)}", ""]
    with open("debian/changelog", "w", encoding="utf-8") as file:
        file.write("\n".join(lines))


main()
