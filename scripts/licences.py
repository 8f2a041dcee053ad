#!/usr/bin/env python3
"""Fails when a dependency has a licence that vfw, MIT OR Apache-2.0, cannot be shipped with."""

import json
import re
import subprocess
import sys

ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC",
    "MIT", "MIT-0", "Unicode-3.0", "Unlicense", "Zlib",
}


def is_allowed(expression: str) -> bool:
    """Whether an SPDX expression (`/` is an old form of OR) can be satisfied with allowed licences alone."""
    tokens = re.split(r"\s*(\(|\)|\bOR\b|\bAND\b|/)\s*", expression)
    words = {"/": "or", "OR": "or", "AND": "and", "(": "(", ")": ")"}
    terms = [words.get(token) or str(token in ALLOWED) for token in tokens if token]
    return bool(eval(" ".join(terms), {"__builtins__": {}}))  # only True, False, and, or, ( and ) can be in it


def main() -> int:
    metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--locked"]))
    packages = [package for package in metadata["packages"] if package["source"]]
    bad = [package for package in packages if not package["license"] or not is_allowed(package["license"])]
    for package in bad:
        print(f"{package['name']} {package['version']}: licence {package['license']!r} is not allowed", file=sys.stderr)
    if not bad:
        print(f"licences of {len(packages)} dependencies are fine")
    return 1 if bad or not packages else 0


if __name__ == "__main__":
    sys.exit(main())
