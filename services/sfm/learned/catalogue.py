"""The names behind which there is a network or a library: what each needs. Imports nothing heavy."""

from dataclasses import dataclass

from contracts.weights import WEIGHTS, Weights


@dataclass(frozen=True)
class Learned:
    """A feature or a matcher that does not come with pycolmap."""

    name: str
    network: str
    """For people: which network, and the paper that describes it."""
    libraries: tuple[str, ...]
    """Modules to import."""

    @property
    def weights(self) -> tuple[Weights, ...]:
        return tuple(entry for entry in WEIGHTS if self.name in entry.serves)


_SUPERPOINT = "SuperPoint (DeTone et al. 2018)"
_KORNIA = ("torch", "kornia")
_TRANSFORMERS = ("torch", "transformers")

EXTRACTORS = {
    entry.name: entry
    for entry in (
        Learned("superpoint_aachen", _SUPERPOINT, _TRANSFORMERS),
        Learned("superpoint_max", _SUPERPOINT, _TRANSFORMERS),
        Learned("disk", "DISK (Tyszkiewicz et al. 2020)", _KORNIA),
        Learned("aliked-n16", "ALIKED (Zhao et al. 2023)", _KORNIA),
        Learned("xfeat", "XFeat (Potje et al. 2024)", _KORNIA),
    )
}

MATCHERS = {
    entry.name: entry
    for entry in (
        Learned("superpoint+lightglue", "LightGlue (Lindenberger et al. 2023)", _KORNIA),
        Learned("disk+lightglue", "LightGlue (Lindenberger et al. 2023)", _KORNIA),
        Learned("aliked+lightglue", "LightGlue (Lindenberger et al. 2023)", _KORNIA),
        Learned("superglue", "SuperGlue (Sarlin et al. 2020)", _TRANSFORMERS),
        Learned("adalam", "AdaLAM (Cavalli et al. 2020), no network", _KORNIA),
    )
}
