"""What may have become of a view on its way: another camera took it, or it was turned or mirrored."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from contracts.object_settings import VIEWS
from services.mesh.views import SixViews

Floats = NDArray[np.float64]
Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True)
class Turn:
    """How an upload is brought back: mirrored if it was mirrored, then turned back by quarters (as numpy.rot90 counts)."""

    pose: int
    """Which of the rig's six cameras took it."""
    quarter_turns: int = 0
    mirrored: bool = False

    def restored(self, image: NDArray[Kind]) -> NDArray[Kind]:
        """The picture as its camera saw it."""
        upright = image[:, ::-1] if self.mirrored else image
        return np.ascontiguousarray(np.rot90(upright, -self.quarter_turns))

    def restored_places(self, places: Floats) -> Floats:
        """Places (n, 2) in the picture, from its middle, as its camera saw them."""
        x, y = (-places[:, 0] if self.mirrored else places[:, 0]), places[:, 1]
        for _ in range(self.quarter_turns):
            x, y = -y, x
        return np.stack([x, y], axis=1)


Turns = tuple[Turn, ...]
IDENTITY: Turns = tuple(Turn(i) for i in range(VIEWS))


def surprise(turns: Turns) -> int:
    """How many things are not as the API's document assumes."""
    return sum((t.pose != i) + (t.quarter_turns > 0) + t.mirrored for i, t in enumerate(turns))


def turned(views: SixViews, turns: Turns) -> SixViews:
    """The uploads as their cameras saw them."""
    return SixViews(
        tuple(t.restored(image) for t, image in zip(turns, views.colours, strict=True)),
        tuple(None if alpha is None else t.restored(alpha) for t, alpha in zip(turns, views.alphas, strict=True)),
        tuple(t.restored(raw) for t, raw in zip(turns, views.depths, strict=True)),
    )
