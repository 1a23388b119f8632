"""Names of elements as people say them: wall W-0-012, door D-0-003, room 0.01.

The first number is the storey's, the second counts within the storey, in the order of the model.
"""

from collections import Counter
from collections.abc import Iterable

from services.bim.model import Building, OpeningKind, SlabKind

_OPENING_LETTERS = {OpeningKind.DOOR: "D", OpeningKind.WINDOW: "WI", OpeningKind.PASSAGE: "P"}


def main(building: Building) -> dict[str, str]:
    """The names of all elements, by their ids in the model.

    Raises ValueError if two elements have the same id.
    """
    names: dict[str, str] = {}
    for model_id, name in _named(building):
        if model_id in names:
            raise ValueError(f"two elements of the building have the id {model_id}")
        names[model_id] = name
    return names


def _named(building: Building) -> Iterable[tuple[str, str]]:
    counts: Counter[tuple[str, int]] = Counter()

    def number(letters: str, storey: int) -> str:
        counts[letters, storey] += 1
        return f"{letters}-{storey}-{counts[letters, storey]:03d}"

    for slab in building.slabs:
        yield slab.slab_id, number("R" if slab.kind is SlabKind.ROOF else "S", slab.storey)
    for wall in building.walls:
        yield wall.wall_id, number("W", wall.storey)
    for opening in building.openings:
        yield opening.opening_id, number(_OPENING_LETTERS[opening.kind], opening.storey)
    for column in building.columns:
        yield column.column_id, number("C", column.storey)
    for space in building.spaces:
        counts["room", space.storey] += 1
        yield space.space_id, f"{space.storey}.{counts['room', space.storey]:02d}"
