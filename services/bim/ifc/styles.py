"""Colours of elements: restrained, so that a model of a scan reads as one."""

from collections.abc import Sequence
from enum import Enum

from services.bim.ifc.file import Entity, IfcFile


class Finish(Enum):
    """Name, red, green, blue and transparency, 0 to 1."""

    EXTERIOR_WALL = ("Exterior wall", 0.80, 0.76, 0.68, 0.0)
    INTERIOR_WALL = ("Interior wall", 0.93, 0.92, 0.89, 0.0)
    SLAB = ("Slab", 0.62, 0.63, 0.64, 0.0)
    ROOF = ("Roof", 0.55, 0.42, 0.38, 0.0)
    COLUMN = ("Column", 0.52, 0.55, 0.58, 0.0)
    DOOR = ("Door", 0.55, 0.38, 0.22, 0.0)
    FRAME = ("Frame", 0.96, 0.96, 0.96, 0.0)
    GLASS = ("Glass", 0.60, 0.78, 0.90, 0.6)
    SPACE = ("Space", 0.55, 0.75, 0.60, 0.8)


class Styles:
    """One surface style for each finish that is used."""

    def __init__(self, ifc: IfcFile) -> None:
        self._ifc = ifc
        self._made: dict[Finish, Entity] = {}

    def paint(self, items: Sequence[Entity], finish: Finish) -> None:
        """Colour items of a representation."""
        style = self._made.get(finish) or self._made.setdefault(finish, self._make(finish))
        for item in items:
            self._ifc.add("IfcStyledItem", item, [style], None)

    def _make(self, finish: Finish) -> Entity:
        name, red, green, blue, transparency = finish.value
        colour = self._ifc.add("IfcColourRgb", None, red, green, blue)
        shading = self._ifc.file.create_entity(
            "IfcSurfaceStyleRendering",
            SurfaceColour=colour,
            Transparency=transparency,
            ReflectanceMethod="NOTDEFINED",
        )
        return self._ifc.add("IfcSurfaceStyle", name, "BOTH", [shading])
