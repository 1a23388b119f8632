"""The canonical form of a point cloud: what `ingest` writes and `bim` reads, whatever file it came from.

A folder (or a prefix in the object store) with:

    cloud.json         `CloudManifest`, written last
    points.npy         (n, 3) float32, metres in the cloud's frame
    colours.npy        (n, 3) uint8 RGB; absent if the file has none
    intensity.npy      (n,) float32, 0 to 1; absent if the file has none
    scan.npy           (n,) uint16, which of `scanners_m` a point was seen from; absent if unknown
    source_index.npy   (n,) uint32, the point's place in the uploaded file's own order; absent if that is its row

The cloud's frame: metres, right-handed, +z up. Its origin lies near the points, so that single precision resolves
hundredths of a millimetre: p_file = file_from_cloud @ p_cloud, in float64 and metres, whatever the unit of the file.
"""

from typing import Annotated, Literal

from pydantic import Field

from contracts.model import Message

CLOUD_MANIFEST_NAME = "cloud.json"
POINTS_NAME = "points.npy"
COLOURS_NAME = "colours.npy"
INTENSITY_NAME = "intensity.npy"
SCAN_NAME = "scan.npy"
SOURCE_INDEX_NAME = "source_index.npy"

Point = tuple[float, float, float]
Row = tuple[float, float, float, float]


class CloudManifest(Message):
    """`cloud.json`."""

    version: Literal[1] = 1
    file_name: str
    format: Literal["ptx", "xyz", "ply", "e57", "las", "laz", "pcd"]
    points: Annotated[int, Field(ge=0)]
    """Rows of points.npy."""
    points_in_file: Annotated[int, Field(ge=0)]
    """Points that the file has, with those that were left out."""
    points_invalid: Annotated[int, Field(ge=0)] = 0
    """Left out because the file marks them as no return, or they are not finite."""
    points_diluted: Annotated[int, Field(ge=0)] = 0
    """Left out because the settings ask for every n-th point only."""
    file_from_cloud: tuple[Row, Row, Row, Row]
    """4x4, float64: a shift, and for clouds with +y up a turn."""
    up_axis: Literal["z", "y"]
    """The file's own up."""
    unit_m: Annotated[float, Field(gt=0)] = 1.0
    """Metres in one unit of the file."""
    bounds_m: tuple[Point, Point]
    """Lowest and highest coordinates in the cloud's frame."""
    spacing_m: Annotated[float, Field(ge=0)]
    """Median distance between neighbouring points on surfaces."""
    has_colours: bool = False
    has_intensity: bool = False
    scanners_m: tuple[Point, ...] = ()
    """Where the scanner stood, in the cloud's frame, one for each scan of the file; empty if unknown."""
    crs: str | None = None
    """Coordinate reference system that the file names, as EPSG:n or WKT."""
    warnings: tuple[str, ...] = ()
