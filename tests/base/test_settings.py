"""Settings that are composed of groups: one flat name at every door, checked where they are, written as they were."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from activetune import UsageError
from activetune.base.config import build, check_settings, configure, field_defaults, field_types, parse_named
from activetune.base.fingerprint import as_json, digest_json
from activetune.base.settings import Settings, changed, flatten, group_of, places, recorded
from activetune.networks.imbalance import Imbalance
from activetune.networks.regression import Regression
from activetune.selection.selectors import selectors
from activetune.studies.simulation.plan import read_recipes
from activetune.training.head_training import HeadTraining
from activetune.training.recipe import make_recipe, recipes
from activetune.training.settings import HoldOut, Training

GOLDEN = Path(__file__).parents[1] / "golden" / "recipe_options.json"


@dataclass(frozen=True)
class Heat(Settings):
    flat_names: ClassVar[Mapping[str, str]] = {"most": "most_heat"}

    degrees: float = 20.0
    most: float = 90.0

    def __post_init__(self) -> None:
        check_settings("heat", ("degrees", self.degrees, 0, self.most))


@dataclass(frozen=True)
class Oven(Settings):
    heat: Heat = Heat(degrees=60.0)
    fan: bool = False


@dataclass(frozen=True)
class Baking(Settings):
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"hot": {"degrees": 85, "fan": True}}

    minutes: int = 30
    oven: Oven = Oven()
    tins: tuple[str, ...] = ("round",)


def test_settings_of_all_groups_have_one_flat_name() -> None:
    assert field_defaults(Baking) == {
        **{"minutes": 30, "degrees": 60.0, "most_heat": 90.0, "fan": False},
        "tins": ("round",),
    }
    assert list(field_types(Baking)) == list(flatten(Baking()))
    assert (field_types(Baking)["degrees"], field_types(Baking)["tins"]) == (float, tuple[str, ...])
    assert places(Baking)["most_heat"].path == ("oven", "heat", "most")


def test_flat_values_reach_their_group() -> None:
    made = configure(Baking, {"degrees": "75", "minutes": 5, "tins": "square, long", "fan": "true"}, what="baking")
    assert made == Baking(5, Oven(Heat(75.0), True), ("square", "long"))
    assert flatten(changed(Baking(), flatten(made))) == flatten(made)


def test_single_settings_win_over_a_preset_and_that_over_defaults() -> None:
    made = build({"baking": Baking}, "baking", "hot", {"degrees": 70}, kind="dish")
    assert (made.oven.heat.degrees, made.oven.fan, made.minutes) == (70.0, True, 30)


def test_every_group_checks_itself_with_all_its_values() -> None:
    with pytest.raises(UsageError, match="heat: degrees can't be 95"):
        changed(Baking(), {"degrees": 95.0})
    assert changed(Baking(), {"most_heat": 100.0, "degrees": 95.0}).oven.heat.degrees == 95.0
    with pytest.raises(UsageError, match="probe: strengths can't be '1, nan'; give numbers"):  # nan is within any range
        configure(Regression, {"strengths": "1, nan"}, what="probe")


@pytest.mark.parametrize(("name", "near"), [("degree", "degrees"), ("oven.heat.degrees", "degrees"), ("oven", ".*")])
def test_an_unknown_name_is_refused_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=rf"baking has no setting '{name}'; did you mean '({near})'\? It has: minutes"):
        configure(Baking, {name: 1}, what="baking")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not understood"),
        (":paper", "not understood"),
        ("activeft:paper;released", "not understood"),
        ("activeft:=1", "not understood"),
        ("pool_fact:turns=0,minutes=3", "'0,minutes=3' is no value; write ; between settings"),
        ("activeft:lr=1;lr=2", "the setting lr is given twice, as 1 and as 2"),
    ],
)
def test_a_name_with_settings_that_can_t_be_read_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse_named(text)
    assert parse_named(" activeft : paper; lr = 1 ;lr=1") == ("activeft", "paper", {"lr": "1"})


def test_two_settings_of_one_flat_name_are_refused_where_the_class_is_defined() -> None:
    with pytest.raises(TypeError, match=r"Twice: oven\.heat\.degrees and other\.degrees are both named 'degrees'"):

        @dataclass(frozen=True)
        class Twice(Settings):
            oven: Oven = Oven()
            other: Heat = Heat()

    with pytest.raises(TypeError, match="both named 'degrees'"):

        @dataclass(frozen=True)
        class Below(Baking):
            degrees: int = 1


def test_a_class_below_has_other_defaults_and_groups() -> None:
    @dataclass(frozen=True)
    class Quick(Baking):
        minutes: int = 3
        oven: Oven = Oven(Heat(80.0))

    assert (field_defaults(Quick)["minutes"], field_defaults(Quick)["degrees"]) == (3, 80.0)
    assert configure(Quick, {"fan": True}, what="quick").oven == Oven(Heat(80.0), True)


def test_what_a_group_got_later_is_recorded_where_it_was_set() -> None:
    @dataclass(frozen=True)
    class Grown(Settings):
        later: ClassVar[frozenset[str]] = frozenset({"steam"})
        salt: float = 1.0
        steam: bool = False

    @dataclass(frozen=True)
    class Kitchen(Settings):
        minutes: int = 5
        grown: Grown = Grown()

    assert recorded(Kitchen()) == {"minutes": 5, "salt": 1.0}
    assert recorded(Kitchen(grown=Grown(steam=True))) == {"minutes": 5, "salt": 1.0, "steam": True}


def test_a_group_is_found_at_any_depth() -> None:
    assert group_of(Baking(), Heat) == Heat(60.0)
    assert group_of(Baking(), Baking) == Baking()
    assert group_of(Baking(), HoldOut) is None


# Recipes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", sorted(recipes()))
def test_the_flat_settings_of_a_recipe_are_what_they_were(recipe: str) -> None:
    """Manifests and the keys of simulations hold them: another name or default would start finished work again."""
    known = json.loads(GOLDEN.read_text(encoding="utf-8"))
    if recipe not in known:
        pytest.skip(f"{recipe} came later")
    assert as_json(recorded(make_recipe(recipe))) == known[recipe]
    (entry,) = read_recipes(recipe, {})
    assert digest_json(entry.options) == digest_json(known[recipe])


@pytest.mark.parametrize("known", [recipes, selectors])
def test_every_method_has_defaults_for_all_settings_and_takes_them_again(known: Any) -> None:
    for name, cls in known().items():
        flat = flatten(cls())
        assert flat == field_defaults(cls)
        assert configure(cls, flat, what=name) == cls()


def test_a_setting_is_reached_through_its_groups() -> None:
    fact = make_recipe("fact", settings={"lr": 0.01, "head_batch": 16, "balance": 1, "validation": 0.1, "folds": 3})
    assert group_of(fact, Training) == replace(
        Training(lr=0.01, layer_decay=0.75, patience=5, interpolation=(1.0, 0.0, 0.25, 0.5, 0.75)),
        imbalance=Imbalance(balance=1.0),
    )
    assert group_of(fact, HeadTraining) == HeadTraining(batch_size=16)
    assert group_of(fact, HoldOut) == HoldOut(share=0.1)
    assert {field.name for field in fields(fact)} == {"phases", "pilot", "training", "probe", "light", "validation"}


def test_stochastic_depth_is_part_of_the_network_of_every_recipe_that_trains_it() -> None:
    for name, cls in recipes().items():
        if "drop_path" in field_types(cls):
            assert make_recipe(name, settings={"drop_path": 0.1}).construction() == {"drop_path_rate": 0.1}
