"""What the steps read from a canonical capture folder."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from contracts.captures import MANIFEST_NAME, CapturedFrame, CaptureManifest, Pose
from contracts.errors import ErrorCode, UserError

Floats = NDArray[np.float64]


def read_manifest(capture_dir: Path) -> CaptureManifest:
    """`capture.json`."""
    return CaptureManifest.model_validate_json((capture_dir / MANIFEST_NAME).read_bytes())


def pose_matrix(pose: Pose) -> Floats:
    """`world_from_camera` (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(pose.quaternion_xyzw).as_matrix()
    matrix[:3, 3] = pose.position_m
    return matrix


def read_depth(capture_dir: Path, frame: CapturedFrame, least_confidence: int) -> Floats | None:
    """Depth along z (h, w) in metres, 0 where there is none or its confidence is below `least_confidence`.

    None for a frame without depth. A capture without confidence maps counts as sure of everything.
    """
    if not frame.has_depth:
        return None
    path = capture_dir / "depth" / frame.name
    millimetres = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if millimetres is None or millimetres.ndim != 2:
        raise UserError(
            ErrorCode.INVALID_DEPTH, f"depth/{frame.name} is not a grey picture that can be read. Record it again."
        )
    depth = millimetres.astype(np.float64) / 1000
    confidence_path = capture_dir / "confidence" / frame.name
    if least_confidence > 0 and confidence_path.exists():
        confidence = cv2.imread(str(confidence_path), cv2.IMREAD_UNCHANGED)
        if confidence is None or confidence.shape != depth.shape:
            raise UserError(
                ErrorCode.INVALID_DEPTH,
                f"confidence/{frame.name} cannot be read or has another size than its depth map.",
            )
        depth[confidence < least_confidence] = 0
    return depth
