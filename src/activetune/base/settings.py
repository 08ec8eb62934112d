"""Settings that are composed: a frozen dataclass whose fields are settings, or groups of settings.

A group is a field whose default is such a dataclass itself::

    @dataclass(frozen=True)
    class Fact(Recipe):
        training: Training = Training(lr=3e-4)
        light: LightHead = LightHead()

In Python a setting is reached through its groups, ``fact.training.lr``, and each group checks its own. At every other
door (the command line, config files, ``settings={"lr": 0.01}``, manifests, digests) it has one flat name, ``lr``: the
field's, or the one that its group gives it in ``flat_names``. Two settings of one class never share a flat name.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TypeVar


@dataclass(frozen=True)
class Settings:
    """Base class of settings and of their groups; every field has a default.

    Attributes:
        flat_names: the flat names of fields that have another one than their own, by field.
        later: flat names of settings, of a group its own, that came after work with the others was finished; see
            :func:`recorded`.

    Raises:
        TypeError: when a class is defined in which two settings have the same flat name.
    """

    flat_names: ClassVar[Mapping[str, str]] = {}
    later: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _places(cls)  # not kept: `dataclass` has yet to see the fields

    def __post_init__(self) -> None:
        """Hold the settings to their ranges; a class below hands on with ``super()``."""


AnySettings = TypeVar("AnySettings", bound=Settings)
AnyGroup = TypeVar("AnyGroup", bound=Settings)


class Place(NamedTuple):
    """Where a setting is: the class that has the field, the names that lead there from the top, and the default."""

    owner: type[Settings]
    path: tuple[str, ...]
    default: Any

    @property
    def kind(self) -> Any:
        """The type that the field is declared with."""
        return _hints(self.owner)[self.path[-1]]  # type: ignore[arg-type]  # mypy doubts that classes can be hashed


def places(cls: type[Settings]) -> Mapping[str, Place]:
    """The settings of a class and of its groups, by flat name, in the order of the fields."""
    return _kept_places(cls)  # type: ignore[arg-type]


@functools.cache
def _kept_places(cls: type[Settings]) -> Mapping[str, Place]:
    return MappingProxyType(_places(cls))


def _places(cls: type[Settings]) -> dict[str, Place]:
    found: dict[str, Place] = {}
    for name, default in _declared(cls).items():
        if isinstance(default, Settings):
            inside = {
                flat: Place(place.owner, (name, *place.path), _value(default, place.path))
                for flat, place in _places(type(default)).items()
            }
        else:
            inside = {cls.flat_names.get(name, name): Place(cls, (name,), default)}
        for flat in (flat for flat in inside if flat in found):
            one, other = (".".join(place.path) for place in (found[flat], inside[flat]))
            raise TypeError(
                f"{cls.__name__}: {one} and {other} are both named {flat!r}; keep one and hand it on, or give one "
                "another name in flat_names"
            )
        found |= inside
    return found


def flatten(options: Settings) -> dict[str, Any]:
    """All values in force, by flat name.

    >>> from activetune.recipes.fact import Fact
    >>> flatten(Fact())["lr"] == Fact().training.lr
    True
    """
    return {flat: _value(options, place.path) for flat, place in places(type(options)).items()}


def recorded(options: Settings) -> dict[str, Any]:
    """The values that a record of a run holds, by flat name: its key in manifests and simulations.

    A setting that a method got later stands in it only where it is not at its default, so that finished work stays.
    """
    known = places(type(options))
    later = {name for name, place in known.items() if name in options.later | place.owner.later}
    usual = flatten(type(options)()) if later else {}
    values = flatten(options)
    return {name: value for name, value in values.items() if name not in later or value != usual[name]}


def changed(options: AnySettings, values: Mapping[str, Any]) -> AnySettings:
    """The settings with other values, by flat name; every group that changes checks itself again.

    >>> from activetune.recipes.fact import Fact
    >>> changed(Fact(), {"lr": 0.01, "views": 2}).training.lr
    0.01

    Raises:
        KeyError: a name that is no setting.
    """
    known = places(type(options))
    own: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {}
    for flat, value in values.items():
        name, *inside = known[flat].path
        if inside:
            groups.setdefault(name, {})[flat] = value
        else:
            own[name] = value
    made = {name: changed(getattr(options, name), inside) for name, inside in groups.items()}
    return dataclasses.replace(options, **own, **made)


def group_of(options: Settings, kind: type[AnyGroup]) -> AnyGroup | None:
    """The first group of a kind among the settings, at any depth; None where there is none."""
    if isinstance(options, kind):
        return options
    values = (getattr(options, name) for name in _declared(type(options)))
    found = (group_of(value, kind) for value in values if isinstance(value, Settings))
    return next((group for group in found if group is not None), None)


def _value(options: Settings, path: tuple[str, ...]) -> Any:
    return functools.reduce(getattr, path, options)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """The types of a class's fields; resolving them takes 0.3 ms and is asked for once per setting."""
    return typing.get_type_hints(cls)


def _declared(cls: type) -> dict[str, Any]:
    """The fields and their defaults, also of a class that ``dataclass`` has not seen yet."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for name, declared in inspect.get_annotations(base).items():
            if "ClassVar" not in str(declared):
                found[name] = vars(base).get(name)
    return found
