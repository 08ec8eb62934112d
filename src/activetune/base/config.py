"""Settings from strings, TOML or Python values to checked ones, with the nearest name for a wrong one."""

from __future__ import annotations

import math
import re
import reprlib
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from activetune.base.errors import UsageError, nearest, some, unknown_name
from activetune.base.settings import AnySettings, Settings, changed, flatten, places
from activetune.base.toml_files import read_toml

TABLES = frozenset({"set", "settings"})  # options that may be tables
FREE_TEXT = frozenset({"prompt"})  # options of which an empty text is a value like any other


def configure(
    cls: type[AnySettings], values: Mapping[str, Any], *, what: str, beside: Iterable[str] = ()
) -> AnySettings:
    """Build settings from loose values by flat name (``"0.07"`` becomes 0.07).

    Args:
        beside: what may stand where the values come from and is no setting of the class; told with the others.

    Raises:
        UsageError: a name that is no setting (the nearest is named), or a value of the wrong kind.
    """
    types = field_types(cls)
    refuse_unknown_settings(what, values, [*types, *beside])
    checked: dict[str, Any] = {}
    for name, value in values.items():
        several = typing.get_origin(types[name]) is tuple
        try:
            checked[name] = TypeAdapter(types[name]).validate_python(_as_list(value) if several else value)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise UsageError(f"{what}: {name} can't be {value!r} ({problem[0].lower()}{problem[1:]})") from None
        parts = checked[name] if several else (checked[name],)
        if any(isinstance(part, float) and math.isnan(part) for part in parts):  # it is within every range and none
            raise UsageError(f"{what}: {name} can't be {value!r}; give numbers")
    return changed(cls(), checked)


def refuse_unknown_settings(what: str, names: Iterable[str], known: Collection[str]) -> None:
    """Refuse a name that is no setting.

    Raises:
        UsageError: the nearest name that is one is told, and all of them.
    """
    for name in names:
        if name not in known:
            close = nearest(name.rpartition(".")[2], known, 1)  # whoever writes training.lr means lr
            has = f"did you mean {close[0]!r}? It has: {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{what} has no setting {name!r}; {has}")


def build(
    known: Mapping[str, type[AnySettings]], name: str, preset: str | None, settings: Mapping[str, Any], *, kind: str
) -> AnySettings:
    """Build one of the known methods from its name, a preset of its ``presets`` and single settings (these win).

    Raises:
        UsageError: unknown name, preset or setting (the nearest is named, and the methods that have it), or a value of
            the wrong kind.
    """
    if name not in known:
        raise unknown_name(kind, name, known)
    for setting in settings:
        owners = [other for other, cls in known.items() if setting in places(cls)]
        if owners and name not in owners:
            raise UsageError(
                f"{kind} {name} has no setting {setting!r}, which is one of {', '.join(owners)}; choose one of these "
                "to set it, or leave it out"
            )
    others = [other for other, cls in known.items() if preset in getattr(cls, "presets", {})]
    published = preset_of(known[name], preset, what=f"the {kind} {name}", others=others)
    return configure(known[name], {**published, **settings}, what=f"{kind} {name}")


def preset_of(cls: type[Settings], preset: str | None, *, what: str, others: Sequence[str] = ()) -> Mapping[str, Any]:
    """The settings of one of a class's ``presets``, by flat name; none without a preset.

    Args:
        others: names of other classes that have a preset of that name.

    Raises:
        UsageError: it has no such preset.
    """
    presets: Mapping[str, Mapping[str, Any]] = getattr(cls, "presets", {})
    if preset is not None and preset not in presets:
        has = ", ".join(sorted(presets)) or "none"
        elsewhere = f". A preset of that name is one of {some(others)}" if others else ""
        raise UsageError(f"{what} has no preset {preset!r}; it has: {has}{elsewhere}")
    return presets[preset] if preset else {}


def field_types(cls: type[Settings]) -> dict[str, Any]:
    """The settings of a class and of its groups, by flat name, and their types."""
    return {flat: place.kind for flat, place in places(cls).items()}


def field_defaults(cls: type[Settings]) -> dict[str, Any]:
    """The settings of a class and of its groups, by flat name, and their defaults."""
    return {flat: place.default for flat, place in places(cls).items()}


def off_default(options: Settings, names: Iterable[str]) -> list[str]:
    """Those of some settings, by flat name, that are not at their defaults."""
    values, usual = flatten(options), field_defaults(type(options))
    return [name for name in names if values[name] != usual[name]]


def parse_settings(texts: Iterable[str]) -> dict[str, str]:
    """``["loss=released", "lr=0.01"]`` to a mapping.

    Raises:
        UsageError: an entry without ``=``, or two values for one setting.
    """
    settings: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:
            raise UsageError(f"--set {text!r} is not of the form name=value")
        if settings.get(name, value) != value:
            raise UsageError(f"the setting {name} is given twice, as {settings[name]} and as {value}; give one of them")
        settings[name] = value
    return settings


def parse_named(text: str) -> tuple[str, str | None, dict[str, str]]:
    """The name, the preset and the single settings of a text that holds all three.

    >>> parse_named("activeft:paper;learning_rate=0.01")
    ('activeft', 'paper', {'learning_rate': '0.01'})

    Raises:
        UsageError: no name, two presets, a setting without a name or given twice.
    """
    name, _, rest = text.partition(":")
    parts = [part.strip() for part in rest.split(";") if part.strip()]
    presets = [part for part in parts if "=" not in part]
    if len(presets) > 1 or not name.strip() or any(part.startswith("=") for part in parts):
        raise UsageError(f"{text!r} is not understood; it can be NAME, NAME:PRESET or NAME:setting=value;setting=value")
    settings = parse_settings(part for part in parts if "=" in part)
    if joined := [value for value in settings.values() if re.search(r",\s*\w+\s*=", value)]:
        raise UsageError(f"{text!r}: {joined[0]!r} is no value; write ; between settings: setting=value;setting=value")
    return name.strip(), presets[0] if presets else None, settings


def read_config(path: Path, command: str, allowed: Iterable[str], commands: Iterable[str]) -> dict[str, Any]:
    """Options of one command from a TOML file: top-level keys, and those of the table ``[command]`` (these win).

    Keys are option names with ``-`` or ``_``; ``set`` is a table of settings. Values are text, numbers, true or false,
    or lists of these.

    Raises:
        UsageError: no such file, no TOML, a key that the command does not have, or a table that is no command
            (the nearest is named).
    """
    content = read_toml(path)
    names = sorted(allowed)
    tables = {key: value for key, value in content.items() if isinstance(value, dict) and key != "set"}
    plain = {key: value for key, value in content.items() if key not in tables}
    for table in tables:
        if table not in (known := sorted(commands)):
            raise UsageError(
                f"{path}: [{table}] is no command; the nearest is [{nearest(table, known, 1)[0]}] "
                f"(all: {', '.join(known)})"
            )
    options: dict[str, Any] = {}
    for section, values in (("", plain), (f"[{command}] ", tables.get(command, {}))):
        for key, value in values.items():
            name = key.replace("-", "_")
            if name not in names:
                raise UsageError(
                    f"{path}: {section}{key!r} is not an option of '{command}'; "
                    f"the nearest is {nearest(name, names, 1)[0]!r} (all: {', '.join(names)})"
                )
            if value == "" and name not in FREE_TEXT:
                raise UsageError(f"{path}: {section}{key!r} is empty; give a value, or leave it out")
            options[name] = _settings_of(value, path) if name == "set" else value
            if not _is_plain(options[name]) and not (isinstance(value, dict) and name in TABLES):
                raise UsageError(
                    f"{path}: {section}{key!r} can't be {reprlib.repr(value)}; give text, a number, true or "
                    "false, or a list of these"
                )
    return options


def _settings_of(value: Any, path: Path) -> list[str]:
    """``--set`` from a table, or from a list of ``name=value``."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return value
    if not isinstance(value, dict):
        raise UsageError(
            f"{path}: 'set' is a table of settings, not {reprlib.repr(value)}; for instance: set = {{lr = 0.01}}"
        )
    wrong = [name for name, setting in value.items() if not _is_plain(setting)]
    if wrong:
        raise UsageError(
            f"{path}: the setting {wrong[0]!r} can't be {reprlib.repr(value[wrong[0]])}; give text, a number, true or "
            "false, or a list of these"
        )
    return [
        f"{name}={','.join(map(str, setting)) if isinstance(setting, list) else setting}"
        for name, setting in value.items()
    ]


def _is_plain(value: Any) -> bool:
    """Whether a TOML value is text, a number, true or false, or a list of these."""
    values = value if isinstance(value, list) else [value]
    return all(isinstance(part, str | int | float) for part in values)


def _as_list(value: Any) -> Any:
    """The parts of ``"a, b"``, and a number by itself as the only one."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, int | float) else value


def check_settings(what: str, *settings: tuple[str, float, float, float]) -> None:
    """Hold settings, given as (name, value, least, most), to their ranges.

    Raises:
        UsageError: a value out of its range, or not a finite number.
    """
    for name, value, least, most in settings:
        if not (least <= value <= most and _is_finite(value)):
            allowed = f"{least:g} to {most:g}" if math.isfinite(most) else f"{least:g} or more"
            allowed += "" if _is_finite(value) else ", finite"
            raise UsageError(f"{what}: {name} can't be {value}; allowed: {allowed}")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # whole numbers may have any length
        return False
