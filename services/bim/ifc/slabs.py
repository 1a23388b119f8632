"""Slabs and columns: upright prisms over their plans."""

import math

from services.bim.ifc.draft import Draft
from services.bim.ifc.file import Entity, length
from services.bim.ifc.geometry import body, bounding_box, placement, point, prism, prism_shape, rectangle_profile, shape
from services.bim.ifc.properties import describe_column, describe_slab
from services.bim.ifc.styles import Finish
from services.bim.model import Building, Column, Slab, SlabKind
from services.bim.quantities import Quantities, area_of

_PREDEFINED = {SlabKind.FLOOR: "BASESLAB", SlabKind.INTERMEDIATE: "FLOOR", SlabKind.ROOF: "ROOF"}


def write_slabs(draft: Draft, building: Building, quantities: Quantities) -> dict[str, Entity]:
    """All slabs, by their ids."""
    written: dict[str, Entity] = {}
    for slab in building.slabs:
        entity = _write_slab(draft, slab)
        is_external = slab.kind is not SlabKind.INTERMEDIATE
        describe_slab(draft.ifc, entity, slab, is_external, quantities.slabs[slab.slab_id])
        draft.contained[slab.storey].append(entity)
        draft.unknown_material.append(entity)
        written[slab.slab_id] = entity
    return written


def _write_slab(draft: Draft, slab: Slab) -> Entity:
    ifc, name = draft.ifc, draft.names[slab.slab_id]
    shaped, solids = prism_shape(ifc, draft.contexts, [area_of(slab.outline)], slab.top_m - slab.bottom_m)
    draft.styles.paint(solids, Finish.ROOF if slab.kind is SlabKind.ROOF else Finish.SLAB)
    base = (0.0, 0.0, draft.above_storey_m(slab.storey, slab.bottom_m))
    return ifc.root(
        "IfcSlab",
        f"slab/{slab.slab_id}",
        {
            "Name": name,
            "Tag": name,
            "ObjectPlacement": placement(ifc, draft.structure.placements[slab.storey], base),
            "Representation": shaped,
            "PredefinedType": _PREDEFINED[slab.kind],
        },
    )


def write_columns(draft: Draft, building: Building, quantities: Quantities) -> dict[str, Entity]:
    """All columns, by their ids."""
    written: dict[str, Entity] = {}
    for column in building.columns:
        entity = _write_column(draft, column)
        name = _type_name(column)
        draft.types.assign(entity, "IfcColumnType", name, {"PredefinedType": "COLUMN"})
        describe_column(draft.ifc, entity, column, name, quantities.columns[column.column_id])
        draft.contained[column.storey].append(entity)
        draft.unknown_material.append(entity)
        written[column.column_id] = entity
    return written


def _type_name(column: Column) -> str:
    first, second = (round(size * 100) for size in column.size_m)
    return f"Round column {first} cm" if column.is_round else f"Column {first} x {second} cm"


def _write_column(draft: Draft, column: Column) -> Entity:
    """Placed at its centre, x along its first side."""
    ifc, name, height = draft.ifc, draft.names[column.column_id], column.top_m - column.base_m
    across, deep = column.size_m
    if column.is_round:
        deep = across
        centre = ifc.add("IfcAxis2Placement2D", point(ifc, (0.0, 0.0)), None)
        section = ifc.add("IfcCircleProfileDef", "AREA", None, centre, length(across / 2))
    else:
        section = rectangle_profile(ifc, (0.0, 0.0), (across, deep))
    solid = prism(ifc, section, height)
    draft.styles.paint([solid], Finish.COLUMN)
    box = bounding_box(ifc, draft.contexts, (-across / 2, -deep / 2, 0.0), (across / 2, deep / 2, height))
    base = (column.centre[0], column.centre[1], draft.above_storey_m(column.storey, column.base_m))
    along = (math.cos(column.angle_rad), math.sin(column.angle_rad))
    return ifc.root(
        "IfcColumn",
        f"column/{column.column_id}",
        {
            "Name": name,
            "Tag": name,
            "ObjectPlacement": placement(ifc, draft.structure.placements[column.storey], base, along),
            "Representation": shape(ifc, [body(ifc, draft.contexts, [solid]), box]),
        },
    )
