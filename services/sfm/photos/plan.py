"""The steps of a scene job and what each depends on: the one place where recipes come from. Imports nothing heavy."""

from services.sfm.plan import PlannedStep

STEPS = (
    PlannedStep("features", 1, (), ("extracting",)),
    PlannedStep("pairs", 1, (), ("extracting", "features")),
    PlannedStep("matching", 1, (), ("extracting", "features", "pairs")),
    PlannedStep("mapping", 1, (), ("extracting", "matching")),
    PlannedStep("clouds", 1, (), ("extracting", "mapping")),
)
