"""Spaces, aggregated under their storeys, and the surfaces that bound them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from services.bim.boundaries import Boundary
from services.bim.ifc.draft import Draft
from services.bim.ifc.file import Entity, label
from services.bim.ifc.geometry import axes, body, bounding_box, corners_of, placement, prism, profile, ring, shape
from services.bim.ifc.project import aggregate
from services.bim.ifc.properties import describe_space
from services.bim.ifc.styles import Finish
from services.bim.model import Building, Space
from services.bim.quantities import Quantities, area_of


def write(draft: Draft, building: Building, quantities: Quantities) -> dict[str, Entity]:
    """All spaces, by their ids."""
    written: dict[str, Entity] = {}
    of_storey: dict[int, list[Entity]] = defaultdict(list)
    for space in building.spaces:
        entity = _write_space(draft, space)
        describe_space(draft.ifc, entity, space, draft.names[space.space_id], quantities.spaces[space.space_id])
        of_storey[space.storey].append(entity)
        written[space.space_id] = entity
    for index, entities in sorted(of_storey.items()):
        aggregate(draft.ifc, f"spaces/{index}", draft.structure.storeys[index], entities)
    return written


def _write_space(draft: Draft, space: Space) -> Entity:
    ifc, number, height = draft.ifc, draft.names[space.space_id], space.ceiling_m - space.floor_m
    area = area_of(space.outline)
    solid = prism(ifc, profile(ifc, area), height)
    draft.styles.paint([solid], Finish.SPACE)
    rings = [ring(ifc, corners_of(each)) for each in (area.exterior, *area.interiors)]
    curves = ifc.add("IfcGeometricCurveSet", rings)
    footprint = ifc.add("IfcShapeRepresentation", draft.contexts.footprint, "FootPrint", "GeometricCurveSet", [curves])
    low_x, low_y, high_x, high_y = area.bounds
    box = bounding_box(ifc, draft.contexts, (low_x, low_y, 0.0), (high_x, high_y, height))
    base = (0.0, 0.0, draft.above_storey_m(space.storey, space.floor_m))
    return ifc.root(
        "IfcSpace",
        f"space/{space.space_id}",
        {
            "Name": number,
            "LongName": label(f"Room {number}"),
            "ObjectPlacement": placement(ifc, draft.structure.placements[space.storey], base),
            "Representation": shape(ifc, [footprint, body(ifc, draft.contexts, [solid]), box]),
            "CompositionType": "ELEMENT",
            "PredefinedType": "INTERNAL",
        },
    )


def write_boundaries(
    draft: Draft,
    building: Building,
    found: Iterable[Boundary],
    spaces: Mapping[str, Entity],
    elements: Mapping[str, Entity],
) -> None:
    """Relate spaces to what bounds them; parents must come before their children."""
    ifc = draft.ifc
    floors_m = {space.space_id: space.floor_m for space in building.spaces}
    written: dict[str, Entity] = {}
    for boundary in found:
        space, element = spaces[boundary.space_id], elements[boundary.element_id]
        written[boundary.key] = ifc.root(
            "IfcRelSpaceBoundary1stLevel",
            f"boundary/{boundary.key}",
            {
                "Name": "1stLevel",
                "Description": label(f"{space.Name} to {element.Name}"),
                "RelatingSpace": space,
                "RelatedBuildingElement": element,
                "ConnectionGeometry": _surface(draft, boundary, floors_m[boundary.space_id]),
                "PhysicalOrVirtualBoundary": "VIRTUAL" if boundary.virtual else "PHYSICAL",
                "InternalOrExternalBoundary": boundary.outside.value,
                "ParentBoundary": None if boundary.parent is None else written[boundary.parent],
            },
        )


def _surface(draft: Draft, boundary: Boundary, floor_m: float) -> Entity:
    """In the space's own frame, whose z = 0 is its floor."""
    ifc = draft.ifc
    outwards = np.cross(boundary.x_axis, boundary.y_axis)
    position = axes(ifc, boundary.origin - (0.0, 0.0, floor_m), tuple(outwards.tolist()), boundary.x_axis)
    plane = ifc.add("IfcPlane", position)
    bounded = ifc.add("IfcCurveBoundedPlane", plane, ring(ifc, boundary.corners), [])
    return ifc.add("IfcConnectionSurfaceGeometry", bounded, None)
