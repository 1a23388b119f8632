"""The model as binary glTF 2.0, for viewers: one node for each element, named as in the IFC file.

Axes as glTF asks: metres, +y up, so that (x, y, z) of the model are (x, z, -y) here. Openings are cut into walls. Spaces are
left out: one would look at them from outside and see no building.
"""

from pathlib import Path

import ifcopenshell
import ifcopenshell.geom

_LEFT_OUT = ["IfcOpeningElement", "IfcSpace"]
_ONE_THREAD = 1
"""Several would write elements in the order in which they happen to be ready."""
_KERNEL = "hybrid-manifold-opencascade"
"""Manifold cuts openings out of walls fifteen times as fast as OpenCASCADE, to the precision of glTF; round columns it leaves
to the other."""


def main(ifc_file: Path, glb_file: Path) -> None:
    """Write `glb_file`.

    Raises ValueError if the file has no element with a body.
    """
    model = ifcopenshell.open(ifc_file)
    assert isinstance(model, ifcopenshell.file)
    settings = ifcopenshell.geom.settings()
    for name in ("use-world-coords", "use-element-names", "use-material-names", "y-up"):
        settings.set(name, True)
    # The library's list of kernels names no hybrid but one, and says that any may be had.
    iterator = ifcopenshell.geom.iterator(settings, model, _ONE_THREAD, exclude=_LEFT_OUT, geometry_library=_KERNEL)  # type: ignore[arg-type]
    if not iterator.initialize():
        raise ValueError(f"{ifc_file.name} has no element to show")
    # The format is told by the name, so the unfinished file has its ending.
    unfinished = glb_file.with_name(f"unfinished-{glb_file.name}")
    serializer = ifcopenshell.geom.serializers.glb(str(unfinished), settings)
    serializer.setFile(model)
    serializer.setUnitNameAndMagnitude("METER", 1.0)
    serializer.writeHeader()
    serializer.write(iterator.get())
    while iterator.next():
        serializer.write(iterator.get())
    serializer.finalize()
    unfinished.replace(glb_file)
