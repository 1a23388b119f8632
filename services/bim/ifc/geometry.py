"""Placements, profiles and solids, as IFC entities. Coordinates in metres."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely import LinearRing, Polygon
from shapely.geometry.polygon import orient

from services.bim.ifc.file import Entity, IfcFile, length, ratio

Floats = NDArray[np.float64]
Point2 = tuple[float, float]
Point3 = tuple[float, float, float]

UP: Point3 = (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Contexts:
    """What a representation is for."""

    model: Entity
    body: Entity
    axis: Entity
    box: Entity
    footprint: Entity


def point(ifc: IfcFile, coordinates: Sequence[float] | Floats) -> Entity:
    """2D or 3D. Origins are shared, other points belong to one shape: editors move them."""
    rounded = [length(value) for value in coordinates]
    return ifc.add("IfcCartesianPoint", rounded) if any(rounded) else ifc.share("IfcCartesianPoint", rounded)


def direction(ifc: IfcFile, components: Sequence[float] | Floats) -> Entity:
    return ifc.share("IfcDirection", [ratio(value) for value in components])


def axes(ifc: IfcFile, origin: Sequence[float] | Floats, z: Sequence[float], x: Sequence[float] | Floats) -> Entity:
    """IfcAxis2Placement3D: z and x axis in the frame that it is placed in."""
    return ifc.add("IfcAxis2Placement3D", point(ifc, origin), direction(ifc, z), direction(ifc, x))


def placement(
    ifc: IfcFile, relative_to: Entity | None, origin: Sequence[float], along: Sequence[float] | Floats = (1.0, 0.0)
) -> Entity:
    """An upright frame in the frame of another placement; `along` is its x axis, in plan."""
    return ifc.add("IfcLocalPlacement", relative_to, axes(ifc, origin, UP, (along[0], along[1], 0.0)))


def polyline(ifc: IfcFile, corners: Floats) -> Entity:
    """Open, from corners (n, 2)."""
    return ifc.add("IfcPolyline", [point(ifc, corner) for corner in corners])


def ring(ifc: IfcFile, corners: Floats) -> Entity:
    """Closed, from corners (n, 2) that do not repeat the first."""
    points = [point(ifc, corner) for corner in corners]
    return ifc.add("IfcPolyline", [*points, points[0]])


def profile(ifc: IfcFile, area: Polygon) -> Entity:
    """An arbitrary profile, with voids where the polygon has holes."""
    turned = orient(area)
    outer = ring(ifc, corners_of(turned.exterior))
    if not turned.interiors:
        return ifc.add("IfcArbitraryClosedProfileDef", "AREA", None, outer)
    voids = [ring(ifc, corners_of(hole)) for hole in turned.interiors]
    return ifc.add("IfcArbitraryProfileDefWithVoids", "AREA", None, outer, voids)


def rectangle_profile(ifc: IfcFile, centre: Point2, size: Point2, along: Sequence[float] = (1.0, 0.0)) -> Entity:
    position = ifc.add("IfcAxis2Placement2D", point(ifc, centre), direction(ifc, along))
    return ifc.add("IfcRectangleProfileDef", "AREA", None, position, length(size[0]), length(size[1]))


def corners_of(closed: LinearRing) -> Floats:
    """Corners (n, 2) of a shapely ring, which repeats its first."""
    return np.asarray(closed.coords, np.float64)[:-1, :2]


def prism(ifc: IfcFile, base: Entity, height_m: float) -> Entity:
    """A profile in the frame's plan, extruded upwards from z = 0."""
    return ifc.add("IfcExtrudedAreaSolid", base, None, direction(ifc, UP), length(height_m))


def across(ifc: IfcFile, face: Entity, from_y_m: float, depth_m: float) -> Entity:
    """A profile drawn in the frame's x and -z, extruded along +y from `from_y_m`.

    Right-handed axes with x along x and z along y have y along -z: heights of the profile count downwards.
    """
    position = axes(ifc, (0.0, from_y_m, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    return ifc.add("IfcExtrudedAreaSolid", face, position, direction(ifc, UP), length(depth_m))


def upright_rectangle(ifc: IfcFile, low: Point2, high: Point2) -> Entity:
    """The profile for `across` of a rectangle between two corners (x, z)."""
    centre = ((low[0] + high[0]) / 2, -(low[1] + high[1]) / 2)
    return rectangle_profile(ifc, centre, (high[0] - low[0], high[1] - low[1]))


def box(ifc: IfcFile, low: Sequence[float] | Floats, high: Sequence[float] | Floats) -> Entity:
    size = [length(b - a) for a, b in zip(low, high, strict=True)]
    return ifc.add("IfcBoundingBox", point(ifc, low), *size)


def shape(ifc: IfcFile, representations: Sequence[Entity]) -> Entity:
    return ifc.add("IfcProductDefinitionShape", None, None, representations)


def body(ifc: IfcFile, contexts: Contexts, solids: Sequence[Entity]) -> Entity:
    return ifc.add("IfcShapeRepresentation", contexts.body, "Body", "SweptSolid", solids)


def bounding_box(
    ifc: IfcFile, contexts: Contexts, low: Sequence[float] | Floats, high: Sequence[float] | Floats
) -> Entity:
    return ifc.add("IfcShapeRepresentation", contexts.box, "Box", "BoundingBox", [box(ifc, low, high)])


def prism_shape(
    ifc: IfcFile, contexts: Contexts, pieces: Sequence[Polygon], height_m: float
) -> tuple[Entity, list[Entity]]:
    """Body and box of upright prisms over polygons in the frame's plan; and the solids themselves."""
    solids = [prism(ifc, profile(ifc, piece), height_m) for piece in pieces]
    bounds = np.array([piece.bounds for piece in pieces])
    low = (*bounds[:, :2].min(axis=0), 0.0)
    high = (*bounds[:, 2:].max(axis=0), height_m)
    return shape(ifc, [body(ifc, contexts, solids), bounding_box(ifc, contexts, low, high)]), solids
