"""The steps of sfm and what each depends on: the one place where recipes come from. Imports nothing heavy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PlannedStep:
    """A step. Its stored output is used again as long as all of this is the same.

    `revision` is raised when the step's code makes something else of the same inputs. `settings` are the names of the
    settings it depends on; `inputs` the recipes: `frames` are the pictures to match with poses and depth, `conversion`
    the pictures to deliver, the others are steps.
    """

    name: str
    revision: int
    settings: tuple[str, ...]
    inputs: tuple[str, ...]


STEPS = (
    PlannedStep("features", 1, ("feature_type", "max_keypoints"), ("frames",)),
    PlannedStep("pairs", 1, ("pairing_mode",), ("frames", "features")),
    PlannedStep("matching", 2, ("matcher_type", "feature_type", "camera_model"), ("frames", "features", "pairs")),
    PlannedStep("mapping", 2, ("mapper_type", "stray_approach", "camera_model"), ("frames", "matching")),
    PlannedStep(
        "cloud",
        1,
        ("stray_confidence", "stray_depth_subsample", "stray_gen_pointcloud", "stray_approach"),
        ("conversion", "mapping"),
    ),
)
