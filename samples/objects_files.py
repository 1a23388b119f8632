"""What one uploads for a generated object, as files: views, depth renders, and what the cameras were."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from samples.objects import SampleObject
from samples.objects_views import Arrangement, ObjectRenderer, View, ViewSpec, pinhole, rig
from samples.surfaces import Floats

Sample = TypeVar("Sample", bound=np.generic)

_FLAT = 1e-9
_FAR_BEYOND = 1.05
"""The far end of the known range, over the farthest depth: nothing real is at the end of the scale."""


@dataclass(frozen=True)
class Upload:
    """colours: six (h, w, 3) uint8 RGB. depths: six (h, w) uint8 or uint16. near, far: what 0 and the largest value mean,
    for the coding `near_far`. cameras: what the form field `cameras` would say."""

    colours: tuple[NDArray[np.uint8], ...]
    depths: tuple[NDArray[np.uint8 | np.uint16], ...]
    cameras: dict[str, object]


def take_views(sample: SampleObject, spec: ViewSpec) -> tuple[View, ...]:
    """The six views in upload order, before encoding and turning. Colour and depth may differ in size."""
    renderer = ObjectRenderer(sample)
    poses = rig(spec.distance)
    views = []
    for arrangement in spec.arrangements:
        pose = poses[arrangement.camera]
        depth = renderer.depth(pinhole(spec.size_px, spec.focal), pose)
        colour_camera = pinhole(spec.colour_size_px, spec.focal, spec.colour_shift)
        views.append(View(renderer.view(colour_camera, pose).colour, depth))
    return tuple(views)


def make_upload(sample: SampleObject, spec: ViewSpec) -> Upload:
    """Takes the six views and encodes them. The same arguments give the same pictures."""
    views = take_views(sample, spec)
    near = 0.9 * min(float(view.depth[view.covered].min()) for view in views)
    far = _FAR_BEYOND * max(float(view.depth.max()) for view in views)
    colours: list[NDArray[np.uint8]] = []
    depths: list[NDArray[np.uint8 | np.uint16]] = []
    for view, arrangement in zip(views, spec.arrangements, strict=True):
        colours.append(_turned(np.rint(view.colour * 255).astype(np.uint8), arrangement))
        own = spec.coding == "own_range"
        low = float(view.depth[view.covered].min()) if own else near
        high = float(view.depth.max()) if own else far
        depths.append(_turned(_encoded(view.depth, low, high, spec), arrangement))
    return Upload(tuple(colours), tuple(depths), _cameras(spec, near, far))


def _encoded(depth: Floats, near: float, far: float, spec: ViewSpec) -> NDArray[np.uint8 | np.uint16]:
    """Zero is background; what is there is one or more."""
    top = 255 if spec.bits == 8 else 65535
    if far - near < _FLAT:
        # All of it is as far as the farthest: renderers that divide by the maximum write white.
        share = np.ones_like(depth)
    else:
        share = (depth - near) / (far - near)
        if spec.sign == "near_is_bright":
            share = 1 - share
    value = np.where(depth > 0, np.clip(np.rint(share * top), 1, top), 0)
    return value.astype(np.uint8) if spec.bits == 8 else value.astype(np.uint16)


def _turned(image: NDArray[Sample], arrangement: Arrangement) -> NDArray[Sample]:
    turned = np.rot90(image, arrangement.quarter_turns)
    return np.ascontiguousarray(turned[:, ::-1] if arrangement.mirrored else turned)


def _cameras(spec: ViewSpec, near: float, far: float) -> dict[str, object]:
    """As `contracts.object_settings.GivenCameras` reads it. Says nothing of turned or mirrored pictures."""
    focal = spec.focal * spec.size_px
    intrinsics = {
        "width": spec.size_px, "height": spec.size_px, "fx": focal, "fy": focal,
        "cx": spec.size_px / 2, "cy": spec.size_px / 2,
    }  # fmt: skip
    poses = rig(spec.distance)
    return {
        "intrinsics": intrinsics,
        "views": [{"camera_from_world": poses[a.camera].tolist()} for a in spec.arrangements],
        "depth": {
            "encoding": "near_far", "near": near, "far": far,
            "nearer_is": "darker" if spec.sign == "far_is_bright" else "brighter",
        },
    }  # fmt: skip


def write_upload(sample: SampleObject, spec: ViewSpec, folder: Path) -> Upload:
    """Writes view_0.png to view_5.png, depth_0.png to depth_5.png, cameras.json and truth.ply into `folder`."""
    upload = make_upload(sample, spec)
    folder.mkdir(parents=True, exist_ok=True)
    for i, (colour, depth) in enumerate(zip(upload.colours, upload.depths, strict=True)):
        cv2.imwrite(str(folder / f"view_{i}.png"), colour[..., ::-1])
        cv2.imwrite(str(folder / f"depth_{i}.png"), depth)
    if spec.coding == "near_far":
        (folder / "cameras.json").write_text(json.dumps(upload.cameras, indent=1), encoding="utf-8")
    sample.shape.mesh().export(folder / "truth.ply")
    return upload
