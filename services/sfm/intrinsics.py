"""Lens distortion, refined at the end and only where the images determine it.

Focal length and principal point stay what the phone says: it knows them to a fraction of a per cent, and a walk through
rooms determines them worse. Distortion the phone does not report; models that have such parameters get them from the images
when enough frames share one camera.
"""

import numpy as np
import pycolmap

from services.sfm.models import Floats

MIN_SHARED_FRAMES = 15
MIN_OBSERVATIONS = 2000
MIN_GAIN = 0.01
MAX_CHANGE = 0.3
"""Of any distortion coefficient: what a phone's lens cannot have is a fit to something else."""


def _well_observed(reconstruction: pycolmap.Reconstruction) -> list[int]:
    frames: dict[int, int] = {}
    observations: dict[int, int] = {}
    for image_id in reconstruction.reg_image_ids():
        image = reconstruction.image(image_id)
        frames[image.camera_id] = frames.get(image.camera_id, 0) + 1
        observations[image.camera_id] = observations.get(image.camera_id, 0) + image.num_points3D
    return [
        camera_id
        for camera_id, count in frames.items()
        if count >= MIN_SHARED_FRAMES
        and observations[camera_id] >= MIN_OBSERVATIONS
        and len(reconstruction.camera(camera_id).extra_params_idxs()) > 0
    ]


def _with_lens_held(threads: int) -> pycolmap.BundleAdjustmentOptions:
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = False
    options.refine_principal_point = False
    options.refine_extra_params = False
    options.ceres.use_gpu = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.solver_options.num_threads = threads
    options.ceres.solver_options.max_num_iterations = 30
    return options


def _adjusted(
    reconstruction: pycolmap.Reconstruction, options: pycolmap.BundleAdjustmentOptions
) -> pycolmap.Reconstruction:
    """A copy that fits best; only its distortion and its error are of use, the priors know the rest."""
    trial = pycolmap.Reconstruction(reconstruction)
    pycolmap.bundle_adjustment(trial, options)
    trial.update_point_3d_errors()
    return trial


def refine_distortion(reconstruction: pycolmap.Reconstruction, threads: int) -> bool:
    """Refine distortion in place; True if any camera changed.

    Taken over only where the mean reprojection error falls by `MIN_GAIN` and the coefficients stay plausible; poses
    and points stay as they are, for the adjustment that follows. What is compared are fits with and without distortion,
    both free of priors: else what poses and points alone can gain would be taken for a gain of the lens.
    """
    cameras = _well_observed(reconstruction)
    if not cameras:
        return False
    held = _adjusted(reconstruction, _with_lens_held(threads))
    lens_free = _with_lens_held(threads)
    lens_free.refine_extra_params = True
    trial = _adjusted(held, lens_free)
    if not trial.compute_mean_reprojection_error() < (1 - MIN_GAIN) * held.compute_mean_reprojection_error():
        return False
    changed = False
    for camera_id in cameras:
        old: Floats = np.array(reconstruction.camera(camera_id).params)
        new: Floats = np.array(trial.camera(camera_id).params)
        if (
            np.isfinite(new).all()
            and np.abs(new - old)[list(trial.camera(camera_id).extra_params_idxs())].max() < MAX_CHANGE
        ):
            reconstruction.camera(camera_id).params = new.tolist()
            changed = True
    return changed
