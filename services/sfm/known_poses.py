"""Known poses: the phone's poses, shifted to when the pictures were taken, then refined by the images."""

import numpy as np
import pycolmap

from contracts.progress import Reporter
from services.sfm.refinement import FROM_PHONE_POSES, State, refine
from services.sfm.scene import Scene, ray_matches
from services.sfm.trajectory import delay_from_matches


def reconstruct(scene: Scene, threads: int, report: Reporter) -> tuple[pycolmap.Reconstruction, State]:
    """Triangulate and adjust from the phone's poses; frames that no verified match supports are left out."""
    delay = delay_from_matches(scene.track, scene.times_s, ray_matches(scene))
    report.log(f"  Pictures are {delay * 1000:+.0f} ms behind the phone's poses, by the matches alone")
    start = State(
        world_from_camera=scene.track.at(scene.times_s - delay),
        supported=np.ones(scene.frames, dtype=np.bool_),
        delay_s=delay,
        scale_factor=1.0,
        scale=None,
        sources=(),
    )
    return refine(scene, start, FROM_PHONE_POSES, threads, report)
