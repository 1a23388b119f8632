"""What a reconstruction engine is: something that makes a textured mesh of six views."""

from dataclasses import dataclass
from typing import Protocol

from contracts.progress import Reporter
from services.mesh.surface import TexturedMesh
from services.mesh.texture import ColourView


@dataclass(frozen=True)
class Reconstruction:
    """A mesh in the frame of the cameras it was made with.

    views: with these cameras, where the engine has improved on those it was given; the mesh is measured and shown under them.
    """

    mesh: TexturedMesh
    closed: bool
    bodies: int
    views: tuple[ColourView, ...] | None = None


class Engine(Protocol):
    """Runs within the child process of a mesh worker."""

    @property
    def name(self) -> str:
        """As quality.json names it."""

    def reconstruct(self, views: tuple[ColourView, ...], report: Reporter) -> Reconstruction:
        """A mesh that looks like the views under their cameras. Raises UserError if the views give none."""
