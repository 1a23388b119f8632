"""The steps of an object job within this service, in order."""

STEPS = (
    "recovering_cameras",
    "fusing_depth",
    "cleaning_mesh",
    "unwrapping_mesh",
    "texturing_mesh",
    "measuring_quality",
    "exporting",
)
