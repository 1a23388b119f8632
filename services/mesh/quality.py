"""`quality.json`: how like the views the mesh is, under the cameras that were used."""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime

from contracts.model import Frozen
from services.mesh.depth import RangeView
from services.mesh.rendering import Caster, footprint, picture
from services.mesh.surface import TexturedMesh
from services.mesh.texture import ColourView

Floats32 = NDArray[np.float32]
PSNR_NORMAL, PSNR_WARNING = 25.0, 20.0
SSIM_NORMAL, SSIM_WARNING = 0.85, 0.75
Status = Literal["normal", "warning", "failure"]


class Metrics(Frozen):
    """Means over the six input views, on white. Depths in world units, where mesh and depth render both have something."""

    psnr: float
    ssim: float
    depth_mae: float
    depth_rmse: float


class Thresholds(Frozen):
    psnr_normal: float = PSNR_NORMAL
    psnr_warning: float = PSNR_WARNING
    ssim_normal: float = SSIM_NORMAL
    ssim_warning: float = SSIM_WARNING


class Metadata(Frozen):
    timestamp: AwareDatetime
    input_file: str
    processing_duration_sec: float
    image_resolution: tuple[int, int]
    """Width and height of the views."""
    num_views: int


class Rig(Frozen):
    """Where the cameras came from, and how far that can be trusted."""

    source: Literal["given", "recovered", "assumed"]
    confidence: float
    """0 to 1; 1 where cameras were given."""
    focal_px: float
    notes: tuple[str, ...] = ()


class MeshFacts(Frozen):
    vertices: int
    faces: int
    bodies: int
    closed: bool
    """Every edge has exactly two faces."""
    texture_px: int


class Quality(Frozen):
    """What stands in quality.json."""

    job_id: str
    model: str
    engine: str
    """What really computed it."""
    status: Status
    summary: str
    metrics: Metrics
    thresholds: Thresholds = Thresholds()
    views: tuple[Metrics, ...]
    """The same for each view, in upload order."""
    cameras: Rig
    mesh: MeshFacts
    metadata: Metadata
    warnings: tuple[str, ...] = ()


def status_of(psnr: float, ssim: float) -> Status:
    """As the thresholds have it; `failure` is the documented QUALITY_THRESHOLD_FAILED."""
    if psnr < PSNR_WARNING or ssim < SSIM_WARNING:
        return "failure"
    return "normal" if psnr >= PSNR_NORMAL and ssim >= SSIM_NORMAL else "warning"


def summary_of(metrics: Metrics) -> str:
    """One sentence for people."""
    words = {
        "normal": "The mesh looks like the views",
        "warning": "The mesh differs visibly from the views",
        "failure": "The mesh does not match the views well enough",
    }[status_of(metrics.psnr, metrics.ssim)]
    return f"{words}: PSNR {metrics.psnr:.1f} dB, SSIM {metrics.ssim:.3f}."


def measure(mesh: TexturedMesh, views: tuple[ColourView, ...]) -> tuple[Metrics, ...]:
    """Each view's figures, from pictures of the mesh by ray casting."""
    caster = Caster(mesh.vertices, mesh.faces)
    texture = mesh.texture.astype(np.float32) / np.float32(255)
    found = []
    for view in views:
        image = picture(footprint(mesh, caster, view.camera), texture, view.camera)
        mae, rmse = _depth_errors(caster, view.range_view)
        found.append(
            Metrics(psnr=psnr(image, view.colour), ssim=ssim(image, view.colour), depth_mae=mae, depth_rmse=rmse)
        )
    return tuple(found)


def mean(metrics: tuple[Metrics, ...]) -> Metrics:
    return Metrics(
        psnr=float(np.mean([m.psnr for m in metrics])),
        ssim=float(np.mean([m.ssim for m in metrics])),
        depth_mae=float(np.mean([m.depth_mae for m in metrics])),
        depth_rmse=float(np.mean([m.depth_rmse for m in metrics])),
    )


def _depth_errors(caster: Caster, view: RangeView) -> tuple[float, float]:
    depth = caster.depth(view.camera)
    both = (depth > 0) & view.covered
    if not both.any():
        # Nothing to compare is the worst case, and not a perfect one: the whole distance.
        distance = float(np.median(view.depth[view.covered]))
        return distance, distance
    error = depth[both] - view.depth[both]
    return float(np.abs(error).mean()), float(np.sqrt((error**2).mean()))


def psnr(image: Floats32, reference: Floats32) -> float:
    """Peak signal to noise in dB of pictures (h, w, 3) in 0..1; at most 100."""
    error = float(np.square(image - reference, dtype=np.float64).mean())
    return float(-10 * np.log10(max(error, 1e-10)))


def ssim(image: Floats32, reference: Floats32) -> float:
    """Structural similarity, mean over pixels and channels (Wang et al., "Image quality assessment: from error visibility to
    structural similarity", TIP 2004), with its Gaussian window of 11 px."""

    def blurred(values: Floats32) -> Floats32:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5), np.float32)

    mean_a, mean_b = blurred(image), blurred(reference)
    variance_a = blurred(image * image) - mean_a**2
    variance_b = blurred(reference * reference) - mean_b**2
    covariance = blurred(image * reference) - mean_a * mean_b
    c1, c2 = np.float32(0.01**2), np.float32(0.03**2)
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    likeness /= (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    return float(likeness.mean())
