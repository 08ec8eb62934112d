"""Config files: TOML of a size and depth that a person would write, and those that hold a list of tables.

The config of a stage that does several things, one after the other, is such a list, with keys before it::

    steps = 1000

    [[tasks]]
    task = "detection"
    pool = "images"
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activetune.base.errors import UsageError

LARGEST_CONFIG = 2**20  # bytes
MOST_DOTS = 200  # in one line: dotted keys nest as deep as they are long


def read_toml(path: Path, what: str = "the config file") -> dict[str, Any]:
    """The content of a TOML file.

    Args:
        what: the file is called in a sentence.

    Raises:
        UsageError: no such file, no TOML, or one that only an attack would hold.
    """
    if path.exists() and not path.is_file():
        raise UsageError(f"{what} {path} is {'a folder' if path.is_dir() else 'no file'}; give a TOML file")
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise UsageError(f"{what} {path} is larger than {LARGEST_CONFIG:,} bytes; give the options alone")
        text = path.read_bytes().decode("utf-8-sig")
        deep = next((number for number, line in enumerate(text.splitlines(), 1) if line.count(".") > MOST_DOTS), None)
        if deep is not None:
            raise UsageError(
                f"{what} {path} is nested too deeply in line {deep}; write options without tables in tables"
            )
        return tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{what} {path} can't be read ({error.strerror}); give a TOML file") from None
    except UnicodeDecodeError:
        raise UsageError(f"{what} {path} is not UTF-8 text; save it as UTF-8") from None
    except RecursionError:
        raise UsageError(f"{what} {path} is nested too deeply; write options without tables in tables") from None
    except ValueError as error:  # TOML's own, and Python's for whole numbers of more than 4,300 digits
        told = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "a number has thousands of digits"
        raise UsageError(f"{what} {path} is not TOML ({told}); correct it there") from None


@dataclass(frozen=True)
class Tables:
    """A config that is a list of tables, with keys before them.

    Attributes:
        keys: before the tables. rows: the tables, in their order. folder: that the file lies in; None: it is none.
    """

    keys: Mapping[str, Any]
    rows: list[dict[str, Any]]
    folder: Path | None

    @classmethod
    def read(cls, given: Mapping[str, Any] | str | os.PathLike[str], name: str, *, what: str, of: str) -> Tables:
        """Those of a file, or of a mapping of the same content.

        >>> Tables.read({"seed": 1, "probes": [{"probe": "words"}]}, "probes", what="the suite", of="probe = …").rows
        [{'probe': 'words'}]

        Args:
            name: of the list of tables. what: the config is called in a sentence. of: the keys of a table, in words.

        Raises:
            UsageError: a file that can't be read, no such tables, or a table of another name.
        """
        if isinstance(given, Mapping):
            keys, folder = dict(given), None
        else:
            keys, folder = read_toml(Path(given), what), Path(given).parent
        rows = keys.pop(name, None)
        if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
            raise UsageError(f"{what} holds no {name}; give [[{name}]] tables with {of}")
        for key, value in keys.items():
            if isinstance(value, Mapping):
                raise UsageError(
                    f"{what} has a table [{key}]; only [[{name}]] are tables there: write its values above them"
                )
        return cls(keys, [dict(row) for row in rows], folder)

    def beside(self, value: Any) -> Any:
        """A path, or several: beside the file where it is there, otherwise as it stands; anything else as it is."""
        if isinstance(value, list):
            return [self.beside(one) for one in value]
        if not isinstance(value, str | os.PathLike):
            return value
        text = str(value)
        found = self.folder / text if self.folder is not None and text else None
        return str(found) if found is not None and found.exists() else text
