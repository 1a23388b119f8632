"""The working cloud: one point per voxel, with normals, made level.

A voxel's point is the mean of what fell into it, so noise averages out and faces keep an accuracy far below the voxel's size.
What lies near a scanner counts no more than what lies far away: from here on the number of points stands for area.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.building_settings import BuildingSettings
from contracts.errors import ErrorCode, UserError
from contracts.progress import Reporter
from services.bim.cloud import CanonicalCloud
from services.bim.levelling import level_from_cloud, main_directions, tilt_rad
from services.bim.normals import fit_surfaces
from services.bim.voxels import thin

WORKING_SPACING_M = 0.02
MIN_TILT_RAD = np.deg2rad(0.03)
"""Below this the cloud is left as it is: 5 mm over 10 m."""
MIN_POINTS = 2_000
FLAT_BEND = 0.05
"""Surface variation below which a neighbourhood is a piece of a plane."""

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]


@dataclass(frozen=True)
class WorkingCloud:
    """The thinned cloud in the level frame: p_level = level_from_cloud @ p_cloud.

    points (n, 3) float32, metres; normals (n, 3) float32, unit, zero where there is no surface; they point to the scanner
    if `oriented`, else either way. bend (n,) float32: surface variation λ0 / (λ0 + λ1 + λ2) of the neighbourhood, 1 where
    there is none (Pauly et al. 2002). readings (n,) int32: points that were merged.
    """

    points: Floats32
    normals: Floats32
    bend: Floats32
    readings: NDArray[np.int32]
    oriented: bool
    spacing_m: float
    """Side of a voxel; one point stands for about its square."""
    noise_m: float
    """Median distance of the points to the planes of their neighbourhoods."""
    scanners_m: Floats
    """(k, 3), in the level frame."""
    level_from_cloud: Floats
    """(3, 3) rotation; the identity where the cloud was level."""
    directions_rad: Floats
    """(d,) angles of wall normals in plan, 0 to pi, the most frequent first."""

    def __len__(self) -> int:
        return len(self.points)


def preprocess(cloud: CanonicalCloud, settings: BuildingSettings, report: Reporter) -> WorkingCloud:
    """Thin the cloud, fit surfaces, make it level. Takes n log n time; memory follows the surface, 2500 voxels a m².

    Raises UserError if there are too few points for a building.
    """
    if len(cloud) < MIN_POINTS:
        raise UserError(
            ErrorCode.INVALID_CLOUD,
            f"The cloud has {len(cloud):,} valid points; a building needs at least {MIN_POINTS:,}. "
            "Upload the whole scan, or lower dilution_factor.",
        )
    spacing = max(WORKING_SPACING_M, float(settings.preprocessing.voxel_size), cloud.manifest.spacing_m)
    voxels = thin(cloud, spacing, report)
    report.log(f"  {len(cloud):,} points, {len(voxels.points):,} voxels of {100 * spacing:.1f} cm")
    fits = fit_surfaces(voxels.points, voxels.blocks, spacing, report)
    scanners = np.asarray(cloud.manifest.scanners_m, np.float64).reshape(-1, 3)
    oriented = cloud.scan is not None and len(scanners) > 0
    points, normals = voxels.points, fits.normals
    if oriented:
        normals = _towards_scanners(normals, points, scanners, voxels.scans)
    flat = fits.bend < FLAT_BEND
    turn = level_from_cloud(points[flat], normals[flat])
    if tilt_rad(turn) < MIN_TILT_RAD:
        turn = np.eye(3)
    else:
        report.log(f"  The cloud leans by {np.rad2deg(tilt_rad(turn)):.2f}°: made level")
        points = (points @ turn.T).astype(np.float32)
        normals = (normals @ turn.T).astype(np.float32)
    return WorkingCloud(
        points=points,
        normals=normals,
        bend=fits.bend,
        readings=voxels.readings,
        oriented=oriented,
        spacing_m=spacing,
        noise_m=fits.noise_m,
        scanners_m=scanners @ turn.T,
        level_from_cloud=turn,
        directions_rad=main_directions(normals[flat]),
    )


def _towards_scanners(normals: Floats32, points: Floats32, scanners: Floats, scans: NDArray[np.int32]) -> Floats32:
    known = np.minimum(scans, len(scanners) - 1)
    sight = scanners.astype(np.float32)[known] - points
    away = np.einsum("ij,ij->i", sight, normals) < 0
    return np.where(away[:, None], -normals, normals)
