"""The files of an object job: under which names six views are stored, and which files come back."""

from contracts.object_settings import VIEWS

VIEWS_FIELD = "views"
DEPTHS_FIELD = "depth_renders"
_STEMS = {VIEWS_FIELD: "view", DEPTHS_FIELD: "depth"}

MODEL_FILES = (
    "mesh.glb",
    "mesh.obj",
    "mesh.ply",
    "texture.png",
    "preview_textured_0.png",
    "preview_textured_1.png",
    "preview_wireframe_0.png",
    "preview_wireframe_1.png",
    "quality.json",
)
"""What the API promises in each model's folder of the result. There may be more."""


def stored_name(field: str, index: int) -> str:
    """Name of file `index` (from 0) of a form field in the stored upload: a ZIP of PNGs as they came, in this order.

    An entry's comment in the ZIP's directory is the name that the sender gave the file, in UTF-8.
    """
    return f"{_STEMS[field]}_{index}.png"


STORED_NAMES = tuple(stored_name(field, index) for field in (VIEWS_FIELD, DEPTHS_FIELD) for index in range(VIEWS))
"""All of them."""
