"""Walls: axis, body cut at joins, type with its layer, and the joins themselves."""

from dataclasses import dataclass, field

import numpy as np
import shapely
from shapely import Polygon
from shapely.affinity import affine_transform

from services.bim.footprints import Footprints
from services.bim.ifc.draft import Draft, unknown_material
from services.bim.ifc.file import Entity, label, length
from services.bim.ifc.geometry import body, bounding_box, placement, polyline, prism, profile, shape
from services.bim.ifc.properties import describe_wall
from services.bim.ifc.styles import Finish
from services.bim.model import Building, Wall
from services.bim.quantities import Quantities


@dataclass
class _Kind:
    """Walls of one type."""

    wall_type: Entity
    millimetres: int
    walls: list[Entity] = field(default_factory=list)


def write(draft: Draft, building: Building, footprints: Footprints, quantities: Quantities) -> dict[str, Entity]:
    """All walls, by their ids."""
    written: dict[str, Entity] = {}
    kinds: dict[str, _Kind] = {}
    for wall in building.walls:
        entity = _write_wall(draft, wall, footprints.pieces[wall.wall_id])
        millimetres = round(wall.thickness_m * 1000)
        name = f"{'Exterior' if wall.is_external else 'Interior'} wall {millimetres} mm"
        wall_type = draft.types.assign(entity, "IfcWallType", name, {"PredefinedType": "STANDARD"})
        kinds.setdefault(name, _Kind(wall_type, millimetres)).walls.append(entity)
        describe_wall(draft.ifc, entity, wall, name, quantities.walls[wall.wall_id])
        draft.contained[wall.storey].append(entity)
        written[wall.wall_id] = entity
    if kinds:
        _associate_layers(draft, kinds)
    _connect(draft, footprints, written)
    return written


def in_wall(wall: Wall, area: Polygon) -> Polygon:
    """Plan coordinates in the wall's own frame: along it, and to its left."""
    (ux, uy), (nx, ny) = wall.direction, wall.normal
    along, left = -float(wall.start @ wall.direction), -float(wall.start @ wall.normal)
    return affine_transform(area, [ux, uy, nx, ny, along, left])


def _write_wall(draft: Draft, wall: Wall, footprint: tuple[Polygon, ...]) -> Entity:
    """Placed at its start, x along its centre line, z = 0 at its base."""
    ifc, name = draft.ifc, draft.names[wall.wall_id]
    origin = (wall.start[0], wall.start[1], draft.above_storey_m(wall.storey, wall.base_m))
    return ifc.root(
        "IfcWall",
        f"wall/{wall.wall_id}",
        {
            "Name": name,
            "Tag": name,
            "ObjectPlacement": placement(ifc, draft.structure.placements[wall.storey], origin, wall.direction),
            "Representation": _shape(draft, wall, footprint),
        },
    )


def _shape(draft: Draft, wall: Wall, footprint: tuple[Polygon, ...]) -> Entity:
    ifc, height = draft.ifc, wall.top_m - wall.base_m
    local = [in_wall(wall, piece) for piece in footprint]
    solids = [prism(ifc, profile(ifc, piece), height) for piece in local]
    draft.styles.paint(solids, Finish.EXTERIOR_WALL if wall.is_external else Finish.INTERIOR_WALL)
    line = polyline(ifc, np.array([[0.0, 0.0], [wall.length_m, 0.0]]))
    axis = ifc.add("IfcShapeRepresentation", draft.contexts.axis, "Axis", "Curve2D", [line])
    bounds = shapely.total_bounds(local)
    box = bounding_box(ifc, draft.contexts, (bounds[0], bounds[1], 0.0), (bounds[2], bounds[3], height))
    return shape(ifc, [axis, body(ifc, draft.contexts, solids), box])


def _associate_layers(draft: Draft, kinds: dict[str, _Kind]) -> None:
    """One layer for each type, to the millimetre; walls use it from their centre line to both sides."""
    ifc = draft.ifc
    material = unknown_material(ifc)
    for name, kind in kinds.items():
        thickness = kind.millimetres / 1000
        layer = ifc.file.create_entity("IfcMaterialLayer", Material=material, LayerThickness=thickness, Name="Wall")
        layers = ifc.add("IfcMaterialLayerSet", [layer], name, None)
        usage = ifc.add("IfcMaterialLayerSetUsage", layers, "AXIS2", "POSITIVE", length(-thickness / 2), None)
        for key, related, relating in (("type", [kind.wall_type], layers), ("walls", kind.walls, usage)):
            ifc.root(
                "IfcRelAssociatesMaterial",
                f"material/{key}/{name}",
                {"RelatedObjects": related, "RelatingMaterial": relating},
            )


def _connect(draft: Draft, footprints: Footprints, walls: dict[str, Entity]) -> None:
    for number, join in enumerate(footprints.joins):
        relating, related = walls[join.relating], walls[join.related]
        draft.ifc.root(
            "IfcRelConnectsPathElements",
            f"join/{number}",
            {
                "Name": label(f"{relating.Name} to {related.Name}"),
                "RelatingElement": relating,
                "RelatedElement": related,
                "RelatingPriorities": [],
                "RelatedPriorities": [],
                "RelatedConnectionType": join.related_at.value,
                "RelatingConnectionType": join.relating_at.value,
            },
        )
