"""The dependencies, chosen so that an installed torch stays.

Every torchvision release demands one exact torch, and installers take the newest torchvision: in an environment that
has torch alone they would replace it (by a build with gigabytes of CUDA libraries where a CPU build was). So when
torch is installed and torchvision is not, the torchvision that belongs to that torch is asked for. Everything else
about the package stands in pyproject.toml; why: docs/decisions/0002-installed-torch.md.
"""

from __future__ import annotations

import sysconfig
from importlib.metadata import distributions

from setuptools import setup

DEPENDENCIES = [
    "accelerate>=1.5",
    "numpy>=1.26",
    "pillow>=11.0",
    "psutil>=5.9",
    "pyarrow>=17.0",
    "pydantic>=2.7",
    "python-multipart>=0.0.18",
    "pyyaml>=6.0",
    "rich>=13.7",
    "safetensors>=0.5",
    "scikit-learn>=1.5",
    "starlette>=0.46",
    "threadpoolctl>=3.5",
    "tifffile>=2023.7",
    "timm>=1.0.15",
    "torch>=2.6",
    "typer>=0.15",
    "uvicorn>=0.34",
]


def torchvision_requirement() -> str:
    """``torchvision>=0.21``, or the series that belongs to the installed torch: 0.(N + 15) for torch 2.N."""
    # The build runs in an isolated environment, so the target's own folders are asked, not sys.path.
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    installed = {found.metadata["Name"].lower(): found.version for found in distributions(path=folders)}
    major, _, rest = installed.get("torch", "").partition(".")
    minor = rest.partition(".")[0]
    if "torchvision" in installed or major != "2" or not minor.isdigit():
        return "torchvision>=0.21"
    return f"torchvision==0.{int(minor) + 15}.*"


setup(install_requires=[*DEPENDENCIES, torchvision_requirement()])
