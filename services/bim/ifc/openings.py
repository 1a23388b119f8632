"""Openings, and the doors and windows that fill them.

An opening is placed in its wall: x along it from the opening's first side, y to the wall's left from its centre line, z up from
the sill. A door's y axis points the way it opens, as IFC4 asks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from shapely import Polygon

from services.bim.ifc.draft import Draft
from services.bim.ifc.file import Attribute, Entity, length
from services.bim.ifc.geometry import across, body, bounding_box, placement, profile, shape, upright_rectangle
from services.bim.ifc.properties import describe_filling, describe_hole, recognition
from services.bim.ifc.styles import Finish
from services.bim.model import Building, Opening, OpeningKind, Wall
from services.bim.swings import Swing

_CUT_THROUGH_M = 0.01
"""An opening's body stands out of both faces, so that no skin of the wall is left."""
_DOOR_LINING_M = 0.05
_DOOR_LINING_DEPTH_M = 0.12
_LEAF_M = 0.04
_LEAF_GAP_M = 0.003
"""Around a leaf, so that it shares no face with its lining."""
_FRAME_M = 0.06
_FRAME_DEPTH_M = 0.08
_GLASS_M = 0.02
_LARGEST_SHARE = 0.2
"""Linings and frames take so much of a small opening at most, on each side."""
_WIDEST_PANE_M = 1.2
_PARTITIONS = ("SINGLE_PANEL", "DOUBLE_PANEL_VERTICAL", "TRIPLE_PANEL_VERTICAL")


@dataclass(frozen=True)
class _Hole:
    """An opening in its wall, and the entity that voids it."""

    opening: Opening
    wall: Wall
    entity: Entity


@dataclass(frozen=True)
class _Filling:
    """A door or window to be; `kind` says how it opens or is divided."""

    ifc_class: str
    placement: Entity
    shape: Entity
    kind: Mapping[str, Attribute]


def write(
    draft: Draft, building: Building, walls: Mapping[str, Entity], swings: Mapping[str, Swing]
) -> dict[str, Entity]:
    """All openings, by their ids: doors, windows, and for passages the opening itself."""
    by_id = {wall.wall_id: wall for wall in building.walls}
    written: dict[str, Entity] = {}
    for opening in building.openings:
        hole = _write_hole(draft, opening, by_id[opening.wall_id], walls[opening.wall_id])
        if opening.kind is OpeningKind.DOOR:
            written[opening.opening_id] = _write_door(draft, hole, swings[opening.opening_id])
        elif opening.kind is OpeningKind.WINDOW:
            written[opening.opening_id] = _write_window(draft, hole)
        else:
            recognition(draft.ifc, hole.entity, f"hole/{opening.opening_id}", opening)
            written[opening.opening_id] = hole.entity
    return written


def panes(width_m: float) -> int:
    """Into how many panes a window of this width is divided; a scan does not show it."""
    return min(1 + int(width_m / _WIDEST_PANE_M), len(_PARTITIONS))


def _write_hole(draft: Draft, opening: Opening, wall: Wall, wall_entity: Entity) -> _Hole:
    ifc = draft.ifc
    depth = wall.thickness_m + 2 * _CUT_THROUGH_M
    solid = across(ifc, upright_rectangle(ifc, (0.0, 0.0), (opening.width_m, opening.height_m)), -depth / 2, depth)
    box = bounding_box(ifc, draft.contexts, (0.0, -depth / 2, 0.0), (opening.width_m, depth / 2, opening.height_m))
    name = draft.names[opening.opening_id]
    entity = ifc.root(
        "IfcOpeningElement",
        f"hole/{opening.opening_id}",
        {
            "Name": name if opening.kind is OpeningKind.PASSAGE else f"Opening {name}",
            "Tag": name if opening.kind is OpeningKind.PASSAGE else None,
            "ObjectPlacement": placement(
                ifc, wall_entity.ObjectPlacement, (opening.from_m, 0.0, opening.sill_m - wall.base_m)
            ),
            "Representation": shape(ifc, [body(ifc, draft.contexts, [solid]), box]),
            "PredefinedType": "OPENING",
        },
    )
    ifc.root(
        "IfcRelVoidsElement",
        f"voids/{opening.opening_id}",
        {"RelatingBuildingElement": wall_entity, "RelatedOpeningElement": entity},
    )
    describe_hole(ifc, entity, opening, wall.thickness_m)
    return _Hole(opening, wall, entity)


def _write_door(draft: Draft, hole: _Hole, swing: Swing) -> Entity:
    ifc, opening = draft.ifc, hole.opening
    half = hole.wall.thickness_m / 2
    # The frame of a door that opens to the wall's right is turned by half a turn.
    at = (
        placement(ifc, hole.entity.ObjectPlacement, (0.0, -half, 0.0))
        if swing.left
        else placement(ifc, hole.entity.ObjectPlacement, (opening.width_m, half, 0.0), (-1.0, 0.0))
    )
    size = f"{opening.width_m:.2f} x {opening.height_m:.2f} m"
    name = f"{'Double door' if swing.leaves == 2 else 'Door'} {size}{_hand(swing)}"
    kind: dict[str, Attribute] = {"PredefinedType": "DOOR", "OperationType": swing.operation}
    entity = _write_filling(draft, hole, _Filling("IfcDoor", at, _door_shape(draft, hole, swing), kind))
    draft.types.assign(entity, "IfcDoorType", name, kind)
    describe_filling(ifc, entity, opening, hole.wall.is_external, name)
    return entity


def _hand(swing: Swing) -> str:
    if swing.leaves == 2:
        return ""
    return ", left" if swing.operation == "SINGLE_SWING_LEFT" else ", right"


def _write_window(draft: Draft, hole: _Hole) -> Entity:
    ifc, opening = draft.ifc, hole.opening
    at = placement(ifc, hole.entity.ObjectPlacement, (0.0, -hole.wall.thickness_m / 2, 0.0))
    partition = _PARTITIONS[panes(opening.width_m) - 1]
    name = f"Window {opening.width_m:.2f} x {opening.height_m:.2f} m"
    kind: dict[str, Attribute] = {"PredefinedType": "WINDOW", "PartitioningType": partition}
    entity = _write_filling(draft, hole, _Filling("IfcWindow", at, _window_shape(draft, hole), kind))
    draft.types.assign(entity, "IfcWindowType", name, kind)
    describe_filling(ifc, entity, opening, hole.wall.is_external, name)
    return entity


def _write_filling(draft: Draft, hole: _Hole, filling: _Filling) -> Entity:
    opening, name = hole.opening, draft.names[hole.opening.opening_id]
    entity = draft.ifc.root(
        filling.ifc_class,
        f"filling/{opening.opening_id}",
        {
            "Name": name,
            "Tag": name,
            "ObjectPlacement": filling.placement,
            "Representation": filling.shape,
            "OverallHeight": length(opening.height_m),
            "OverallWidth": length(opening.width_m),
            **filling.kind,
        },
    )
    draft.ifc.root(
        "IfcRelFillsElement",
        f"fills/{opening.opening_id}",
        {"RelatingOpeningElement": hole.entity, "RelatedBuildingElement": entity},
    )
    draft.contained[opening.storey].append(entity)
    return entity


def _door_shape(draft: Draft, hole: _Hole, swing: Swing) -> Entity:
    """A lining on three sides, and one or two leaves flush with the face towards which the door opens."""
    ifc, width, height = draft.ifc, hole.opening.width_m, hole.opening.height_m
    thickness = hole.wall.thickness_m
    lining = min(_DOOR_LINING_M, _LARGEST_SHARE * width, _LARGEST_SHARE * height)
    depth, leaf = min(_DOOR_LINING_DEPTH_M, thickness), min(_LEAF_M, thickness)
    # In the profile heights count downwards.
    frame = Polygon(
        [
            (0, 0),
            (0, -height),
            (width, -height),
            (width, 0),
            (width - lining, 0),
            (width - lining, lining - height),
            (lining, lining - height),
            (lining, 0),
        ]
    )
    solids = [across(ifc, profile(ifc, frame), thickness - depth, depth)]
    clear = (width - 2 * lining) / swing.leaves
    for number in range(swing.leaves):
        first = lining + number * clear
        sides = first + _LEAF_GAP_M, first + clear - _LEAF_GAP_M
        face = upright_rectangle(ifc, (sides[0], 0.0), (sides[1], height - lining - _LEAF_GAP_M))
        solids.append(across(ifc, face, thickness - leaf, leaf))
    draft.styles.paint(solids, Finish.DOOR)
    box = bounding_box(ifc, draft.contexts, (0.0, thickness - depth, 0.0), (width, thickness, height))
    return shape(ifc, [body(ifc, draft.contexts, solids), box])


def _window_shape(draft: Draft, hole: _Hole) -> Entity:
    """A frame with mullions around panes, in the middle of the wall."""
    ifc, width, height = draft.ifc, hole.opening.width_m, hole.opening.height_m
    count = panes(width)
    frame = min(_FRAME_M, _LARGEST_SHARE * width / count, _LARGEST_SHARE * height)
    depth = min(_FRAME_DEPTH_M, hole.wall.thickness_m)
    front = (hole.wall.thickness_m - depth) / 2
    clear = (width - (count + 1) * frame) / count
    lights = [(frame + i * (clear + frame), frame + i * (clear + frame) + clear) for i in range(count)]
    holes = [[(a, -frame), (b, -frame), (b, frame - height), (a, frame - height)] for a, b in lights]
    ring = Polygon([(0, 0), (width, 0), (width, -height), (0, -height)], holes)
    frames = [across(ifc, profile(ifc, ring), front, depth)]
    draft.styles.paint(frames, Finish.FRAME)
    middle = front + (depth - _GLASS_M) / 2 if depth > _GLASS_M else front
    glass = [
        across(ifc, upright_rectangle(ifc, (a, frame), (b, height - frame)), middle, min(_GLASS_M, depth))
        for a, b in lights
    ]
    draft.styles.paint(glass, Finish.GLASS)
    box = bounding_box(ifc, draft.contexts, (0.0, front, 0.0), (width, front + depth, height))
    return shape(ifc, [body(ifc, draft.contexts, [*frames, *glass]), box])
