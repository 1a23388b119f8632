"""An IFC file that is being filled: what the writers of walls, slabs, openings and spaces share."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.bim.ifc.file import Attribute, Entity, IfcFile
from services.bim.ifc.geometry import Contexts
from services.bim.ifc.project import Structure
from services.bim.ifc.styles import Styles


class Types:
    """Types as they are needed (walls of one thickness, doors of one size), and the elements that are of them."""

    def __init__(self, ifc: IfcFile) -> None:
        self._ifc = ifc
        self._made: dict[str, Entity] = {}
        self._occurrences: dict[str, list[Entity]] = defaultdict(list)

    def assign(self, product: Entity, ifc_class: str, name: str, attributes: Mapping[str, Attribute]) -> Entity:
        """Make the product one of the type called `name`; the attributes count at the first of them."""
        key = f"{ifc_class}/{name}"
        if key not in self._made:
            self._made[key] = self._ifc.root(ifc_class, key, {"Name": name, **attributes})
        self._occurrences[key].append(product)
        return self._made[key]

    def finish(self) -> None:
        """Write the relations between types and elements."""
        for key, entity in self._made.items():
            self._ifc.root(
                "IfcRelDefinesByType",
                f"types/{key}",
                {"RelatedObjects": self._occurrences[key], "RelatingType": entity},
            )


@dataclass
class Draft:
    """The file, where things go in it, and what is related at the end."""

    ifc: IfcFile
    contexts: Contexts
    structure: Structure
    names: Mapping[str, str]
    """Names for people, by ids of the model."""
    types: Types
    styles: Styles
    contained: dict[int, list[Entity]] = field(default_factory=lambda: defaultdict(list))
    """Elements by the index of their storey."""
    unknown_material: list[Entity] = field(default_factory=list)
    """Elements of one material, which no scan shows."""

    def above_storey_m(self, storey: int, height_m: float) -> float:
        """A height of the model's frame in the frame of a storey."""
        return height_m - self.structure.elevations_m[storey]

    def finish(self) -> None:
        """Write the relations that hold many elements."""
        self.types.finish()
        for index, products in sorted(self.contained.items()):
            self.ifc.root(
                "IfcRelContainedInSpatialStructure",
                f"contains/{index}",
                {"RelatedElements": products, "RelatingStructure": self.structure.storeys[index]},
            )
        if self.unknown_material:
            self.ifc.root(
                "IfcRelAssociatesMaterial",
                "material/elements",
                {"RelatedObjects": self.unknown_material, "RelatingMaterial": unknown_material(self.ifc)},
            )


def unknown_material(ifc: IfcFile) -> Entity:
    """A scan shows surfaces, and not what is behind them."""
    return ifc.add("IfcMaterial", "Unknown", None, None)
