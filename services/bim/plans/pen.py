"""Drawing on a sheet of paper in millimetres: lines, areas, texts. matplotlib, without its global state."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

Floats = NDArray[np.float64]

DPI = 200
_MM_PER_INCH = 25.4
_POINTS_PER_MM = 72 / _MM_PER_INCH
_CAP_HEIGHT = 0.73
"""Height of capitals as a share of the type size."""
_ADVANCE = 0.62
"""Mean width of a digit as a share of the type size."""

INK = "#1b1b1b"
GREY = "#6f6f6f"
FAINT = "#a8a8a8"
PAPER = "#ffffff"


class Pen:
    """One sheet. Coordinates and widths are millimetres on paper, text heights those of capitals."""

    def __init__(self, width_mm: float, height_mm: float) -> None:
        self._figure = Figure(figsize=(width_mm / _MM_PER_INCH, height_mm / _MM_PER_INCH), facecolor=PAPER)
        FigureCanvasAgg(self._figure)
        self._axes = self._figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self._axes.set_xlim(0, width_mm)
        self._axes.set_ylim(0, height_mm)
        self._axes.set_axis_off()
        self._order = 0

    def line(
        self, points: Floats, width_mm: float = 0.18, *, colour: str = INK, dashes_mm: tuple[float, ...] = ()
    ) -> None:
        """An open line through points (n, 2)."""
        drawn = Line2D(
            points[:, 0],
            points[:, 1],
            linewidth=width_mm * _POINTS_PER_MM,
            color=colour,
            zorder=self._next(),
            solid_capstyle="butt",
            dash_capstyle="butt",
        )
        if dashes_mm:
            # matplotlib counts dashes in line widths.
            drawn.set_dashes([dash / width_mm for dash in dashes_mm])
        self._axes.add_line(drawn)

    def area(self, shape: BaseGeometry, *, fill: str | None, edge_mm: float = 0.0, edge: str = INK) -> None:
        """Polygons with their holes; other geometries leave no trace."""
        outline = _outline(shape)
        if outline is None:
            return
        patch = PathPatch(
            outline,
            facecolor=fill if fill is not None else "none",
            edgecolor=edge if edge_mm else "none",
            linewidth=edge_mm * _POINTS_PER_MM,
            joinstyle="miter",
            zorder=self._next(),
        )
        self._axes.add_patch(patch)

    def text(
        self,
        at: tuple[float, float] | Floats,
        words: str,
        height_mm: float,
        *,
        colour: str = INK,
        bold: bool = False,
        turn_deg: float = 0.0,
        align: str = "center",
        halo: bool = False,
    ) -> None:
        """One line, vertically centred. `halo`: on paper of its own, where lines run behind."""
        self._axes.text(
            float(at[0]),
            float(at[1]),
            words,
            fontsize=height_mm / _CAP_HEIGHT * _POINTS_PER_MM,
            color=colour,
            fontweight="bold" if bold else "normal",
            family=["DejaVu Sans", "sans-serif"],
            rotation=turn_deg,
            rotation_mode="anchor",
            horizontalalignment=align,
            verticalalignment="center_baseline",
            parse_math=False,
            zorder=self._next(),
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6} if halo else None,
        )

    def save(self, png: Path, svg: Path) -> None:
        """The same drawing, the same bytes: no dates, no random ids."""
        # Names of projects may have signs that the font lacks; viewers of the SVG have other fonts.
        with warnings.catch_warnings(), mpl.rc_context({"svg.hashsalt": "alidade", "svg.fonttype": "none"}):
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            self._figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
            self._figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})

    def _next(self) -> int:
        """What is drawn later lies above."""
        self._order += 1
        return self._order


def text_width_mm(words: str, height_mm: float) -> float:
    """About how wide a text of digits and small letters is."""
    return len(words) * height_mm / _CAP_HEIGHT * _ADVANCE


def _outline(shape: BaseGeometry) -> Outline | None:
    rings = list(_rings(shape))
    if not rings:
        return None
    codes = [np.array([Outline.MOVETO, *[Outline.LINETO] * (len(ring) - 2), Outline.CLOSEPOLY]) for ring in rings]
    return Outline(np.concatenate(rings), np.concatenate(codes))


def _rings(shape: BaseGeometry) -> Iterable[Floats]:
    if isinstance(shape, Polygon):
        if not shape.is_empty:
            for ring in (shape.exterior, *shape.interiors):
                yield np.asarray(ring.coords)[:, :2]
    elif isinstance(shape, MultiPolygon):
        for part in shape.geoms:
            yield from _rings(part)
