"""Where a model lies on the map: IfcProjectedCRS and IfcMapConversion.

The model's coordinates stay near the origin, as those of the cloud do. What was taken off the uploaded file's coordinates
goes into the map conversion. A file with +y up is first turned upright, as (x, -z, y); its numbers are hardly a map's.
"""

import re
from dataclasses import dataclass

import numpy as np

from contracts.building_settings import BuildingSettings
from contracts.clouds import CloudManifest
from services.bim.ifc.file import LABEL_CHARACTERS, IfcFile, label, length, ratio, text
from services.bim.ifc.geometry import Contexts

UNKNOWN_CRS = "unknown"
"""The name that OGC WKT and PROJ use for a reference system that nobody named."""

_UPRIGHT_FROM_Y_UP = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], np.float64)
_EPSG = re.compile(r"^\s*EPSG\s*:{1,2}\s*(\d{4,6})\s*$", re.IGNORECASE)
_WKT_AUTHORITY = re.compile(r'(?:AUTHORITY|ID)\s*\[\s*"EPSG"\s*,\s*"?(\d+)"?\s*\]', re.IGNORECASE)
_WKT_NAME = re.compile(r'^\s*[A-Z_]+\s*\[\s*"([^"]+)"', re.IGNORECASE)
_NEGLIGIBLE_M = 1e-6


@dataclass(frozen=True)
class MapFrame:
    """How model coordinates become map coordinates, and whose: a turn about z, then a shift. Metres."""

    crs: str
    description: str
    named: bool
    """The file or the settings say which reference system it is."""
    eastings_m: float
    northings_m: float
    height_m: float
    x_axis: tuple[float, float]
    """The model's x axis on the map, (east, north)."""


def map_frame(manifest: CloudManifest, settings: BuildingSettings) -> MapFrame | None:
    """None where the model's coordinates are those of the file and nobody says what map they are on."""
    # In metres, whatever the file's unit is.
    map_from_model = np.array(manifest.file_from_cloud, np.float64)
    if manifest.up_axis == "y":
        map_from_model = _UPRIGHT_FROM_Y_UP @ map_from_model
    shift = map_from_model[:3, 3]
    x_axis = map_from_model[:2, 0] / max(float(np.linalg.norm(map_from_model[:2, 0])), 1e-12)
    written = settings.ifc.crs or manifest.crs
    moved = bool(np.abs(shift).max() > _NEGLIGIBLE_M or abs(x_axis[1]) > _NEGLIGIBLE_M or x_axis[0] < 0)
    if written is None and not moved:
        return None
    name, description = _crs(written)
    return MapFrame(
        crs=name,
        description=description,
        named=written is not None,
        eastings_m=float(shift[0]),
        northings_m=float(shift[1]),
        height_m=float(shift[2]),
        x_axis=(float(x_axis[0]), float(x_axis[1])),
    )


def _crs(written: str | None) -> tuple[str, str]:
    """Name and description: EPSG:n where the text names one, which is what IFC asks for."""
    if written is None:
        return UNKNOWN_CRS, "No coordinate reference system is known: coordinates of the uploaded file, in metres"
    code = _EPSG.match(written)
    if code:
        return f"EPSG:{code[1]}", "As named by the uploaded file or its settings"
    named = _WKT_NAME.match(written)
    if named is None:
        return label(written) or UNKNOWN_CRS, "As named by the uploaded file or its settings"
    codes = _WKT_AUTHORITY.findall(written)
    # In WKT the whole system's own authority comes last, after those of its parts.
    return f"EPSG:{codes[-1]}" if codes and _ends_with_authority(written) else label(named[1]), text(written)


def _ends_with_authority(wkt: str) -> bool:
    last = list(_WKT_AUTHORITY.finditer(wkt))[-1]
    return set(wkt[last.end() :].split()) <= {"]"}


def write(ifc: IfcFile, contexts: Contexts, metre: object, frame: MapFrame) -> None:
    """Add the conversion; its map unit is the metre, so its scale is 1."""
    crs = ifc.file.create_entity(
        "IfcProjectedCRS", Name=frame.crs[:LABEL_CHARACTERS], Description=frame.description, MapUnit=metre
    )
    ifc.add(
        "IfcMapConversion",
        contexts.model,
        crs,
        length(frame.eastings_m),
        length(frame.northings_m),
        length(frame.height_m),
        ratio(frame.x_axis[0]),
        ratio(frame.x_axis[1]),
        1.0,
    )
