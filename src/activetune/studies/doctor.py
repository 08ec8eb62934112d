"""``activetune doctor``: what this machine has, what is missing, and whether what is needed works.

Nothing heavy is imported before a check asks for it, so a broken package is a line of the result, not the end of it.
No check goes to the network.
"""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from activetune.base.errors import first_line
from activetune.base.files import cache_folder
from activetune.base.printing import counted

PACKAGE = "activetune"
DEVELOPERS = ("benchmarks", "dev", "experiments")  # extras of those who work on activetune itself
IMAGES = 8  # of the self test


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        part: ``versions``, ``machine``, ``cache``, ``extras`` or ``self test``. name: of the thing. value: what was
            found, as text. fault: what is broken of what activetune needs; empty where it is well.
        remedy: what to type to have it, or to mend it; empty where there is nothing to do.
    """

    part: str
    name: str
    value: str
    fault: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Health:
    """All that was found."""

    findings: Sequence[Finding]

    @property
    def faults(self) -> list[Finding]:
        """What is needed and broken."""
        return [finding for finding in self.findings if finding.fault]

    def as_dict(self) -> dict[str, Any]:
        """What ``activetune doctor --json`` prints."""
        return {"well": not self.faults, "findings": [asdict(finding) for finding in self.findings]}

    def table(self) -> str:
        """The findings as aligned text, by part."""
        width = max(len(finding.name) for finding in self.findings)
        lines, part = [], ""
        for finding in self.findings:
            lines += [] if finding.part == part else [f"{finding.part}:"]
            part = finding.part
            told = finding.fault or finding.value
            lines.append(f"  {finding.name:<{width}}  {told}{f'  ({finding.remedy})' if finding.remedy else ''}")
        return "\n".join(lines)


def doctor() -> Health:
    """Look at versions, devices, memory, the cache and extras, and embed a few generated images.

    Returns:
        The findings; ``faults`` among them are what activetune needs and this machine lacks.

    Example:
        >>> activetune.doctor().faults  # of this machine  # doctest: +SKIP
        []
    """
    checks: Sequence[tuple[str, Callable[[], Iterator[Finding]]]] = (
        ("versions", _versions),
        ("machine", _machine),
        ("cache", _cache),
        ("extras", _extras),
        ("self test", _self_test),
    )
    return Health([finding for part, check in checks for finding in _survived(part, check)])


def _survived(part: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """The findings of a check, and its end by an error as one of them: a broken package can raise anything."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as error:
        remedy = "" if part == "versions" else "mend what is named above, then run activetune doctor again"
        found.append(Finding(part, "broken", "", f"{type(error).__name__}: {first_line(error)}", remedy))
    return found


# Versions ---------------------------------------------------------------------------------------------------------


def _versions() -> Iterator[Finding]:
    from activetune import __version__

    yield Finding("versions", PACKAGE, __version__)
    yield Finding("versions", "python", platform.python_version())
    needed = _needs().get("")
    if needed is None:
        fault = "activetune is not installed, only found on the path; what it needs is not known"
        yield Finding("versions", "dependencies", "", fault, "pip install .")
        return
    for requirement in needed:
        version, lack = _state(requirement)
        yield Finding("versions", requirement.name, version, lack, f"pip install '{requirement}'" if lack else "")
    yield from _operators()


def _operators() -> Iterator[Finding]:
    """Whether torchvision was built for the torch that is there; activetune does without its operators."""
    from activetune.base.torchvision_ import import_torchvision

    try:
        import_torchvision()
    except ImportError:  # told above
        return
    import torch

    with contextlib.suppress(RuntimeError, NotImplementedError):
        torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        return
    told = f"built for another torch than {torch.__version__}: its operators do not load, which activetune does without"
    yield Finding("versions", "torchvision's build", told, remedy="install both from one index: docs/install.md")


def _needs() -> Mapping[str, Sequence[Any]]:
    """Requirements by extra, those of activetune itself under ``""``; empty where it is not installed."""
    from packaging.requirements import Requirement

    try:
        told = metadata.metadata(PACKAGE)
    except metadata.PackageNotFoundError:
        return {}
    every = [Requirement(line) for line in told.get_all("Requires-Dist") or ()]
    found: dict[str, list[Any]] = {"": [one for one in every if not one.marker or one.marker.evaluate({"extra": ""})]}
    for extra in sorted(told.get_all("Provides-Extra") or ()):
        found[extra] = [one for one in every if one.marker and one.marker.evaluate({"extra": extra})]
    return found


def _state(requirement: Any) -> tuple[str, str]:
    """The installed version of a package, and what is wrong with it: missing, or not the version that is asked for."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return "", "missing"
    fits = requirement.specifier.contains(version, prereleases=True)
    return version, "" if fits else f"{version}, but {requirement.specifier} is needed"


# Machine ----------------------------------------------------------------------------------------------------------


def _machine() -> Iterator[Finding]:
    import psutil
    import torch

    from activetune.base.runtime import resolve_runtime, usable_cores

    yield Finding("machine", "system", f"{platform.system()} {platform.release()} {platform.machine()}")
    yield Finding("machine", "cores", f"{usable_cores()} usable of {os.cpu_count()}")
    memory = psutil.virtual_memory()
    yield Finding("machine", "memory", f"{_size(memory.available)} free of {_size(memory.total)}")
    yield Finding("machine", "devices", ", ".join(["cpu", *_accelerators(torch)]))
    runtime = resolve_runtime()
    yield Finding("machine", "chosen by auto", f"device {runtime.device}, precision {runtime.precision}")


def _accelerators(torch: Any) -> Iterator[str]:
    for number in range(torch.cuda.device_count()):
        known = torch.cuda.get_device_properties(number)
        yield f"cuda:{number} ({known.name}, {_size(known.total_memory)})"
    if torch.backends.mps.is_available():
        yield "mps"


def _cache() -> Iterator[Finding]:
    folder = cache_folder("")
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    size = f"{_size(sum(path.stat().st_size for path in files))} in {counted(len(files), 'file')}"
    above = next(place for place in (folder, *folder.parents) if place.is_dir())
    if os.access(above, os.W_OK):
        yield Finding("cache", str(folder), size)
    else:
        fault = f"{above} can't be written"
        yield Finding("cache", str(folder), size, fault, "set ACTIVETUNE_CACHE to a folder of your own")


def _size(count: float) -> str:
    """Bytes as they are told."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _extras() -> Iterator[Finding]:
    for extra, requirements in _needs().items():
        if not extra or extra in DEVELOPERS:
            continue
        lacks = [f"{one.name} {lack}" for one in requirements for _, lack in [_state(one)] if lack]
        if lacks:
            yield Finding("extras", extra, "; ".join(lacks), remedy=f"pip install 'activetune[{extra}]'")
        else:
            yield Finding("extras", extra, "installed")


# Self test --------------------------------------------------------------------------------------------------------


def _self_test() -> Iterator[Finding]:
    """Whether images become features that tell them apart."""
    import numpy as np
    from PIL import Image

    from activetune.features.embedding import embed

    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="activetune-doctor-") as temporary:
        rng = np.random.default_rng(0)
        for number in range(IMAGES):
            noise = rng.integers(0, 256, size=(64, 64, 3), dtype=np.uint8)
            Image.fromarray(noise).save(Path(temporary) / f"{number}.png")
        features_ND = embed(temporary, use_cache=False, workers=0, quiet=True).features_ND
    name = f"embed {IMAGES} images"
    if len(np.unique(features_ND, axis=0)) < IMAGES:
        fault = "the bundled backbone gives several images the same features"
        yield Finding("self test", name, "", fault, "pip install --force-reinstall activetune")
        return
    yield Finding("self test", name, f"well, in {time.perf_counter() - started:.1f} s")
