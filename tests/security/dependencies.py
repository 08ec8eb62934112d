"""What the package and its extras install: which packages, under which licences, and their files' digests.

| ``python -m tests.security.dependencies`` … | |
|---|---|
| ``… licences`` | a table of packages and licences; ends with 1 where one is not allowed |
| ``… lock REPORT`` | ``constraints.lock`` from a report of ``pip install --report`` |
"""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
CONSTRAINTS, LOCK = ROOT / "constraints.txt", ROOT / "constraints.lock"
FOR_DEVELOPERS = frozenset({"dev", "docs", "experiments", "benchmarks", "sbom"})  # extras that no user installs

# Permissive ones, and MPL-2.0, whose duties end at its own files. No GPL, LGPL or AGPL, and nothing non-commercial.
ALLOWED = frozenset(
    {
        *(
            "0BSD",
            "Apache-2.0",
            "BSD",
            "BSD-2-Clause",
            "BSD-3-Clause",
            "BSL-1.0",
            "CC0-1.0",
            "CNRI-Python",
            "HPND",
            "ISC",
        ),
        *("ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib", "LLVM-exception"),
    }
)
SAME = {  # as package metadata call them, in lower case
    "apache software license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache2": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache": "Apache-2.0",
    "mit license": "MIT",
    "expat license": "MIT",
    "bsd license": "BSD",
    "new bsd": "BSD-3-Clause",
    "new bsd license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "modified bsd license": "BSD-3-Clause",
    "simplified bsd": "BSD-2-Clause",
    "freebsd": "BSD-2-Clause",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "psf": "PSF-2.0",
    "isc license (iscl)": "ISC",
    "isc license": "ISC",
    "historical permission notice and disclaimer (hpnd)": "HPND",
    "the unlicense (unlicense)": "Unlicense",
}
LOOKED_UP = {"faster-coco-eval": "Apache-2.0"}  # packages whose metadata do not say: what their licence file is
WORD = re.compile(r"[^()\s,;]+(?:[ -][^()\s,;]+)*")


def direct() -> Iterator[Requirement]:
    """What the package asks for, and its extras for users."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DEPENDENCIES":
            yield from map(Requirement, ast.literal_eval(node.value))
    yield Requirement("torchvision")
    for name, texts in project["optional-dependencies"].items():
        if name not in FOR_DEVELOPERS:
            yield from (one for one in map(Requirement, texts) if canonicalize_name(one.name) != "activetune")


def installed(asked: Iterable[Requirement]) -> tuple[dict[str, Distribution], list[str]]:
    """All packages that these lead to, and the names of those that are not installed here."""
    found: dict[str, Distribution] = {}
    absent: list[str] = []
    waiting = list(asked)
    seen: set[tuple[str, str]] = set()
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        for extra in sorted({"", *one.extras}):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                found[name] = distribution(name)
            except PackageNotFoundError:
                absent.append(name)
                break
            needed = map(Requirement, found[name].requires or ())
            waiting += [more for more in needed if more.marker is None or more.marker.evaluate({"extra": extra})]
    return found, sorted(set(absent))


def licences_of(package: Distribution) -> list[str]:
    """The licences that a package's metadata name, by their SPDX names where these are known."""
    about = package.metadata
    if canonicalize_name(about["Name"]) in LOOKED_UP:
        return [LOOKED_UP[canonicalize_name(about["Name"])]]
    if about.get("License-Expression"):
        return _named(re.split(r"\s+(?:AND|OR|WITH)\s+", about["License-Expression"].replace("(", "").replace(")", "")))
    classed = [one.rpartition(" :: ")[2] for one in about.get_all("Classifier", ()) if one.startswith("License :: ")]
    classed = [one for one in classed if one != "OSI Approved"]
    if classed:
        return _named(classed)
    lines = (about.get("License") or "").strip().splitlines() or [""]
    return _named(re.split(r"\s+(?:AND|OR|and|or|/|&)\s+|;\s*", lines[0].strip()))


def _named(texts: Iterable[str]) -> list[str]:
    return [SAME.get(text.strip().lower(), text.strip()) or "unknown" for text in texts]


def refused(packages: Iterable[Distribution]) -> dict[str, list[str]]:
    """Those whose licences are not all allowed, and these licences."""
    wrong = {one.metadata["Name"]: [name for name in licences_of(one) if name not in ALLOWED] for one in packages}
    return {name: found for name, found in wrong.items() if found}


def pinned(path: Path) -> dict[str, str]:
    """Versions by name, of a file with a line ``name==version`` each, digests behind it."""
    lines = (line.partition(" ")[0].partition("==") for line in path.read_text(encoding="utf-8").splitlines())
    return {canonicalize_name(name): version for name, equals, version in lines if equals and name[0] not in "#- "}


def locked(report: Path) -> str:
    """The lines of ``constraints.lock``."""
    lines = [
        f"# {sys.platform}, Python {sys.version_info[0]}.{sys.version_info[1]}; torch is PyTorch's own build for CPUs"
    ]
    for one in json.loads(report.read_text(encoding="utf-8"))["install"]:
        digest = one["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{one['metadata']['name']}=={one['metadata']['version']} --hash=sha256:{digest}")
    return "".join(f"{line}\n" for line in sorted(lines, key=str.lower))


def main() -> int:
    """See the table above."""
    if sys.argv[1] == "lock":
        LOCK.write_text(locked(Path(sys.argv[2])), encoding="utf-8")
        return 0
    found, absent = installed(direct())
    for name, package in sorted(found.items()):
        print(f"{name:28} {package.version:14} {', '.join(licences_of(package))}")
    print(f"not installed here, so not looked at: {', '.join(absent) or 'none'}")
    wrong = refused(found.values())
    for name, licences in wrong.items():
        print(f"not allowed: {name} ({', '.join(licences)})", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
