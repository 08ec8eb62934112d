"""All tables of the page on the experiment with the pool, in its order."""

from __future__ import annotations

import pool_rounds_tables
import pool_tables
from stored import ROOT


def tables() -> list[str]:
    """In the order of the page; of what has not been measured yet the page has no place for a table."""
    made = [pool_tables.sets(), pool_tables.frozen("design"), pool_tables.frozen("confirm")]
    made.append(pool_tables.evened())
    if is_there("foreign"):
        made.append(pool_tables.foreign())
    if is_there("selections"):
        made += [pool_tables.ranks(), pool_tables.predictors()]
    if is_there("rounds"):
        made += [pool_rounds_tables.rounds(), pool_rounds_tables.by_shots()]
    if is_there("typical"):
        made.append(pool_tables.typical())
    made += [pool_tables.beside_peers(), pool_tables.of_two_backbones()]
    if pool_tables.of_tuned():
        made += [pool_tables.tuned(), pool_tables.steps()]
    if is_there("foreign_trained"):
        made.append(pool_tables.foreign_trained())
    return made


def is_there(name: str) -> bool:
    """Whether a script has left its results."""
    return (ROOT / pool_tables.FOLDER / f"results/{name}.json").is_file()
