"""Property sets and base quantities, with the names and types that IFC4 gives them.

What a scan cannot tell (fire rating, whether a wall bears load) is left out, not guessed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from services.bim.ifc.file import Entity, IfcFile, label, length
from services.bim.model import Column, Opening, OpeningKind, Slab, Space, Wall
from services.bim.quantities import (
    BuildingQuantities,
    ColumnQuantities,
    SlabQuantities,
    SpaceQuantities,
    StoreyQuantities,
    WallQuantities,
)

RECOGNITION = "Alidade_Recognition"
"""Our own set: how an element was found, and how far to trust it."""

_QUANTITIES = {"m": "IfcQuantityLength", "m2": "IfcQuantityArea", "m3": "IfcQuantityVolume"}


@dataclass(frozen=True)
class Value:
    """A property's value and its IFC type."""

    ifc_type: str
    value: str | float | int | bool


@dataclass(frozen=True)
class Quantity:
    """A number in `unit`: m, m2 or m3."""

    value: float
    unit: str


def property_set(ifc: IfcFile, product: Entity, key: str, name: str, values: Mapping[str, Value]) -> None:
    """Attach an IfcPropertySet to a product. `key` stands for the product."""
    properties = [
        ifc.add("IfcPropertySingleValue", each, None, ifc.add(value.ifc_type, value.value), None)
        for each, value in values.items()
    ]
    found = ifc.root("IfcPropertySet", f"{key}/{name}", {"Name": name, "HasProperties": properties})
    _define(ifc, product, f"{key}/{name}", found)


def quantity_set(ifc: IfcFile, product: Entity, key: str, name: str, quantities: Mapping[str, Quantity]) -> None:
    """Attach an IfcElementQuantity to a product."""
    entities = [
        ifc.add(_QUANTITIES[quantity.unit], each, None, None, length(quantity.value), None)
        for each, quantity in quantities.items()
    ]
    found = ifc.root(
        "IfcElementQuantity",
        f"{key}/{name}",
        {"Name": name, "MethodOfMeasurement": "BaseQuantities", "Quantities": entities},
    )
    _define(ifc, product, f"{key}/{name}", found)


def _define(ifc: IfcFile, product: Entity, key: str, definition: Entity) -> None:
    ifc.root(
        "IfcRelDefinesByProperties",
        f"defines/{key}",
        {"RelatedObjects": [product], "RelatingPropertyDefinition": definition},
    )


def _boolean(value: bool) -> Value:
    return Value("IfcBoolean", bool(value))


def _reference(name: str) -> Value:
    return Value("IfcIdentifier", label(name))


def _confidence(value: float) -> Value:
    return Value("IfcNormalisedRatioMeasure", round(min(max(float(value), 0.0), 1.0), 4))


def describe_wall(ifc: IfcFile, product: Entity, wall: Wall, type_name: str, measured: WallQuantities) -> None:
    key = f"wall/{wall.wall_id}"
    property_set(
        ifc,
        product,
        key,
        "Pset_WallCommon",
        {"Reference": _reference(type_name), "IsExternal": _boolean(wall.is_external)},
    )
    found = {
        "ModelId": _reference(wall.wall_id),
        "Confidence": _confidence(wall.confidence),
        "MeasuredFaces": Value("IfcInteger", int(wall.measured_faces)),
        "ThicknessMeasured": _boolean(wall.measured_faces == 2),
    }
    if math.isfinite(wall.residual_m):
        found["Residual"] = Value("IfcLengthMeasure", length(wall.residual_m))
    property_set(ifc, product, key, RECOGNITION, found)
    quantity_set(
        ifc,
        product,
        key,
        "Qto_WallBaseQuantities",
        {
            "Length": Quantity(measured.length_m, "m"),
            "Width": Quantity(measured.width_m, "m"),
            "Height": Quantity(measured.height_m, "m"),
            "GrossFootprintArea": Quantity(measured.gross_footprint_m2, "m2"),
            "NetFootprintArea": Quantity(measured.net_footprint_m2, "m2"),
            "GrossSideArea": Quantity(measured.gross_side_m2, "m2"),
            "NetSideArea": Quantity(measured.net_side_m2, "m2"),
            "GrossVolume": Quantity(measured.gross_volume_m3, "m3"),
            "NetVolume": Quantity(measured.net_volume_m3, "m3"),
        },
    )


def describe_slab(ifc: IfcFile, product: Entity, slab: Slab, is_external: bool, measured: SlabQuantities) -> None:
    key = f"slab/{slab.slab_id}"
    property_set(ifc, product, key, "Pset_SlabCommon", {"IsExternal": _boolean(is_external)})
    property_set(
        ifc,
        product,
        key,
        RECOGNITION,
        {
            "ModelId": _reference(slab.slab_id),
            "Confidence": _confidence(slab.confidence),
            "TopMeasured": _boolean(slab.measured_top),
            "BottomMeasured": _boolean(slab.measured_bottom),
            "ThicknessMeasured": _boolean(slab.measured_top and slab.measured_bottom),
        },
    )
    quantity_set(
        ifc,
        product,
        key,
        "Qto_SlabBaseQuantities",
        {
            "Width": Quantity(measured.width_m, "m"),
            "Perimeter": Quantity(measured.perimeter_m, "m"),
            "GrossArea": Quantity(measured.gross_area_m2, "m2"),
            "NetArea": Quantity(measured.net_area_m2, "m2"),
            "GrossVolume": Quantity(measured.gross_volume_m3, "m3"),
            "NetVolume": Quantity(measured.net_volume_m3, "m3"),
        },
    )


def describe_column(ifc: IfcFile, product: Entity, column: Column, type_name: str, measured: ColumnQuantities) -> None:
    key = f"column/{column.column_id}"
    property_set(ifc, product, key, "Pset_ColumnCommon", {"Reference": _reference(type_name)})
    property_set(
        ifc,
        product,
        key,
        RECOGNITION,
        {"ModelId": _reference(column.column_id), "Confidence": _confidence(column.confidence)},
    )
    quantity_set(
        ifc,
        product,
        key,
        "Qto_ColumnBaseQuantities",
        {
            "Length": Quantity(measured.length_m, "m"),
            "CrossSectionArea": Quantity(measured.section_m2, "m2"),
            "OuterSurfaceArea": Quantity(measured.outer_surface_m2, "m2"),
            "GrossSurfaceArea": Quantity(measured.gross_surface_m2, "m2"),
            "GrossVolume": Quantity(measured.volume_m3, "m3"),
            "NetVolume": Quantity(measured.volume_m3, "m3"),
        },
    )


def describe_hole(ifc: IfcFile, product: Entity, opening: Opening, depth_m: float) -> None:
    """The opening itself."""
    quantity_set(
        ifc,
        product,
        f"hole/{opening.opening_id}",
        "Qto_OpeningElementBaseQuantities",
        {
            "Width": Quantity(opening.width_m, "m"),
            "Height": Quantity(opening.height_m, "m"),
            "Depth": Quantity(depth_m, "m"),
            "Area": Quantity(opening.width_m * opening.height_m, "m2"),
            "Volume": Quantity(opening.width_m * opening.height_m * depth_m, "m3"),
        },
    )


def describe_filling(ifc: IfcFile, product: Entity, opening: Opening, is_external: bool, type_name: str) -> None:
    """A door or a window."""
    key = f"filling/{opening.opening_id}"
    noun = "Door" if opening.kind is OpeningKind.DOOR else "Window"
    property_set(
        ifc,
        product,
        key,
        f"Pset_{noun}Common",
        {"Reference": _reference(type_name), "IsExternal": _boolean(is_external)},
    )
    recognition(ifc, product, key, opening, "OperationAssumed" if noun == "Door" else "PartitioningAssumed")
    quantity_set(
        ifc,
        product,
        key,
        f"Qto_{noun}BaseQuantities",
        {
            "Width": Quantity(opening.width_m, "m"),
            "Height": Quantity(opening.height_m, "m"),
            "Perimeter": Quantity(2 * (opening.width_m + opening.height_m), "m"),
            "Area": Quantity(opening.width_m * opening.height_m, "m2"),
        },
    )


def recognition(ifc: IfcFile, product: Entity, key: str, opening: Opening, assumed: str | None = None) -> None:
    """How an opening was found. `assumed`: name of what no scan shows (how a door opens)."""
    values = {"ModelId": _reference(opening.opening_id), "Confidence": _confidence(opening.confidence)}
    if assumed is not None:
        values[assumed] = _boolean(True)
    property_set(ifc, product, key, RECOGNITION, values)


def describe_space(ifc: IfcFile, product: Entity, space: Space, number: str, measured: SpaceQuantities) -> None:
    key = f"space/{space.space_id}"
    property_set(
        ifc, product, key, "Pset_SpaceCommon", {"Reference": _reference(number), "IsExternal": _boolean(False)}
    )
    property_set(
        ifc,
        product,
        key,
        RECOGNITION,
        {"ModelId": _reference(space.space_id), "Confidence": _confidence(space.confidence)},
    )
    quantity_set(
        ifc,
        product,
        key,
        "Qto_SpaceBaseQuantities",
        {
            "Height": Quantity(measured.height_m, "m"),
            "FinishCeilingHeight": Quantity(measured.height_m, "m"),
            "GrossPerimeter": Quantity(measured.perimeter_m, "m"),
            "GrossFloorArea": Quantity(measured.gross_floor_m2, "m2"),
            "NetFloorArea": Quantity(measured.net_floor_m2, "m2"),
            "GrossCeilingArea": Quantity(measured.gross_floor_m2, "m2"),
            "GrossWallArea": Quantity(measured.gross_wall_m2, "m2"),
            "GrossVolume": Quantity(measured.gross_volume_m3, "m3"),
            "NetVolume": Quantity(measured.net_volume_m3, "m3"),
        },
    )


def describe_storey(ifc: IfcFile, product: Entity, index: int, measured: StoreyQuantities) -> None:
    quantity_set(
        ifc,
        product,
        f"storey/{index}",
        "Qto_BuildingStoreyBaseQuantities",
        {
            "NetHeight": Quantity(measured.net_height_m, "m"),
            "GrossPerimeter": Quantity(measured.gross_perimeter_m, "m"),
            "GrossFloorArea": Quantity(measured.gross_floor_m2, "m2"),
            "NetFloorArea": Quantity(measured.net_floor_m2, "m2"),
            "GrossVolume": Quantity(measured.gross_volume_m3, "m3"),
            "NetVolume": Quantity(measured.net_volume_m3, "m3"),
        },
    )


def describe_building(ifc: IfcFile, product: Entity, storeys: int, measured: BuildingQuantities) -> None:
    property_set(ifc, product, "building", "Pset_BuildingCommon", {"NumberOfStoreys": Value("IfcInteger", storeys)})
    quantity_set(
        ifc,
        product,
        "building",
        "Qto_BuildingBaseQuantities",
        {
            "Height": Quantity(measured.height_m, "m"),
            "FootprintArea": Quantity(measured.footprint_m2, "m2"),
            "GrossFloorArea": Quantity(measured.gross_floor_m2, "m2"),
            "NetFloorArea": Quantity(measured.net_floor_m2, "m2"),
            "GrossVolume": Quantity(measured.gross_volume_m3, "m3"),
            "NetVolume": Quantity(measured.net_volume_m3, "m3"),
        },
    )
