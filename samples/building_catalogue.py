"""The catalogue of synthetic buildings: a name and a seed give a plan.

The seed moves walls, picks thicknesses, heights, doors and windows from what is customary, and opens doors.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from samples import building_houses, building_offices, building_random
from samples.building_drawing import check_plan
from samples.building_plan import BuildingPlan


@dataclass(frozen=True)
class CatalogueEntry:
    """How to draw a building, and where it lies: turned about z by `yaw_deg`, then moved by `offset_m`."""

    draw: Callable[[np.random.Generator], BuildingPlan]
    yaw_deg: float = 0.0
    offset_m: tuple[float, float, float] = (0.0, 0.0, 0.0)


CATALOGUE: dict[str, CatalogueEntry] = {
    "simple_house": CatalogueEntry(building_houses.simple_house),
    "two_storey_house": CatalogueEntry(building_houses.two_storey_house),
    "office": CatalogueEntry(building_offices.office),
    "rotated_house": CatalogueEntry(building_houses.two_storey_house, 37.0),
    "skewed_house": CatalogueEntry(building_houses.skewed_house, 11.0),
    "curved_house": CatalogueEntry(building_houses.curved_house),
    "attached_house": CatalogueEntry(building_houses.attached_house, -4.0),
    "split_level_house": CatalogueEntry(building_houses.split_level_house),
    "national_grid_house": CatalogueEntry(building_houses.simple_house, -12.5, (-743210.25, -1043517.5, 251.3)),
    "garage": CatalogueEntry(building_houses.garage, 3.0),
    "column_hall": CatalogueEntry(building_offices.column_hall),
    "random_house": CatalogueEntry(building_random.random_house),
    "random_two_storeys": CatalogueEntry(building_random.random_two_storeys, 20.0),
}


def draw_plan(name: str, seed: int) -> BuildingPlan:
    """The plan of a building of the catalogue. Raises KeyError for a name that is not there."""
    entry = CATALOGUE[name]
    plan = entry.draw(np.random.default_rng([seed, 11]))
    check_plan(plan)
    return BuildingPlan(name, plan.storeys, plan.slabs, plan.stairs)
