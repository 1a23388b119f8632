"""Range images: exact directions on planes and spheres, ends of surfaces, and quantised depth."""

import numpy as np
import pytest

from services.mesh.depth import DepthScale, decode, range_view, smoothed_within_steps
from services.mesh.rig import Camera, assumed_cameras

SIZE_PX = 256


def camera() -> Camera:
    return assumed_cameras(SIZE_PX, SIZE_PX)[0]


def plane_depth(normal: np.ndarray, offset: float) -> np.ndarray:
    rays = camera().rays(camera().centres())
    return np.asarray((offset - camera().centre @ normal) / (rays @ normal))


def sphere_depth(radius: float) -> np.ndarray:
    rays, centre = camera().rays(camera().centres()), camera().centre
    a, b, c = (rays**2).sum(axis=-1), rays @ centre, centre @ centre - radius**2
    root = b * b - a * c
    return np.asarray(np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, 0.0))


def angle_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip((a * b).sum(axis=-1), -1, 1)))


def test_values_become_distances_and_background_nothing() -> None:
    raw = np.array([[0, 1, 65535]], np.uint16)
    assert decode(raw, DepthScale(2.0, 1e-5, 0)) == pytest.approx(np.array([[0, 2.00001, 2.65535]]))
    assert decode(raw, DepthScale(3.0, -1e-5, 65535)) == pytest.approx(np.array([[3.0, 2.99999, 0]]))


def test_directions_are_exact_on_a_slanted_plane() -> None:
    normal = np.array([0.3, -0.5, 0.81])
    normal /= np.linalg.norm(normal)
    view = range_view(plane_depth(normal, 0.1), camera(), 1e-6)
    assert angle_deg(view.normal, normal).max() < 0.01
    assert view.points() @ normal == pytest.approx(np.full((SIZE_PX, SIZE_PX), 0.1))


def test_directions_do_not_reach_over_an_edge() -> None:
    left, right = np.array([-0.6, 0, 0.8]), np.array([0.6, 0, 0.8])
    depth = np.maximum(plane_depth(left, 0.2), plane_depth(right, 0.2))
    view = range_view(depth, camera(), 1e-6)
    ridge = plane_depth(left, 0.2) > plane_depth(right, 0.2)
    error = np.where(ridge, angle_deg(view.normal, left), angle_deg(view.normal, right))
    assert error.max() < 0.1


def test_a_sphere_has_its_outline_as_its_end() -> None:
    view = range_view(sphere_depth(0.4), camera(), 1e-6)
    middle = view.cosine > 0.5
    assert angle_deg(view.normal, view.points() / 0.4)[middle].max() < 0.6
    assert view.rim_px[~view.covered].max() == 0
    assert view.rim_px[SIZE_PX // 2, SIZE_PX // 2] == pytest.approx(0.4 * 1111 / 512 * SIZE_PX / 2.468, abs=3)


def test_eight_bits_are_smoothed_but_stay_what_they_round_to() -> None:
    truth = sphere_depth(0.4)
    step = 0.4 / 255
    stored = np.where(truth > 0, np.rint(truth / step) * step, 0)
    smooth = smoothed_within_steps(stored, step)
    inner = range_view(truth, camera(), 1e-6).cosine > 0.4
    assert np.abs(smooth - stored).max() <= 0.5 * step + 1e-12
    assert np.abs(smooth - truth)[inner].mean() < 0.4 * np.abs(stored - truth)[inner].mean()
    view = range_view(stored, camera(), step)
    assert np.median(angle_deg(view.normal, view.points() / 0.4)[inner]) < 2
