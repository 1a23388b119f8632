"""The challenge's score: what a perfect answer gets, and what each kind of mistake costs."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.scene_score import SHARES, Score, most_within, score
from samples.photos_truth import OUTLIERS, TableRow, write_table

Floats = NDArray[np.float64]
SCENES = ("castle", "bridge")
PICTURES = 12
STRAYS = 3


def pose(rng: np.random.Generator) -> Floats:
    made = np.eye(4)
    made[:3, :3] = Rotation.random(rng=rng).as_matrix()
    made[:3, 3] = rng.uniform(-10, 10, 3)
    return made


@pytest.fixture
def truth() -> list[TableRow]:
    """Two scenes of twelve pictures, and three outliers."""
    rng = np.random.default_rng(5)
    rows = [TableRow("mixed", scene, f"{scene}_{k}.jpg", pose(rng)) for scene in SCENES for k in range(PICTURES)]
    return rows + [TableRow("mixed", OUTLIERS, f"stray_{k}.jpg", None) for k in range(STRAYS)]


def moved(row: TableRow, scale: float, turn: Floats, shift: Floats) -> TableRow:
    """The same camera in a world that is scaled, turned and shifted."""
    assert row.camera_from_world is not None
    rotation = row.camera_from_world[:3, :3] @ turn.T
    centre = scale * turn @ (-row.camera_from_world[:3, :3].T @ row.camera_from_world[:3, 3]) + shift
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = rotation, -rotation @ centre
    return replace(row, camera_from_world=found)


def with_scene(rows: list[TableRow], names: dict[str, str]) -> list[TableRow]:
    return [replace(row, scene=names.get(row.scene, row.scene)) for row in rows]


def without_pose(row: TableRow) -> TableRow:
    return replace(row, scene=OUTLIERS, camera_from_world=None)


def figures(found: Score) -> tuple[float, float, float]:
    (dataset,) = found.datasets
    return dataset.maa, dataset.clusterness, dataset.score


def test_the_truth_itself_scores_one(truth: list[TableRow]) -> None:
    assert figures(score(truth, truth)) == (1, 1, 1)


def test_names_of_clusters_and_the_order_of_lines_do_not_matter(truth: list[TableRow]) -> None:
    submitted = with_scene(truth, {"castle": "cluster1_model0", "bridge": "cluster0_model0"})
    assert figures(score(truth, submitted[::-1])) == (1, 1, 1)


def test_every_scene_may_be_in_a_world_of_its_own(truth: list[TableRow]) -> None:
    rng = np.random.default_rng(6)
    world = {
        name: (rng.uniform(0.01, 50), Rotation.random(rng=rng).as_matrix(), rng.uniform(-9, 9, 3)) for name in SCENES
    }
    submitted = [row if row.scene == OUTLIERS else moved(row, *world[row.scene]) for row in truth]
    assert figures(score(truth, submitted)) == (1, 1, 1)


def test_a_mirrored_world_does_not_fit(truth: list[TableRow]) -> None:
    flip = np.diag([1.0, 1.0, -1.0])
    submitted = [row if row.scene == OUTLIERS else moved(row, 1.0, flip, np.zeros(3)) for row in truth]
    assert score(truth, submitted).datasets[0].maa < 0.5


def test_scenes_thrown_together_lose_clusterness_and_one_of_them_its_poses(truth: list[TableRow]) -> None:
    far = np.array([500.0, 0.0, 0.0])
    turn = Rotation.from_euler("xyz", [0.5, 1.0, 2.0]).as_matrix()
    submitted = [moved(row, 3.0, turn, far) if row.scene == "bridge" else row for row in truth]
    maa, clusterness, whole = figures(score(truth, with_scene(submitted, {"castle": "one", "bridge": "one"})))
    # Each true scene takes the same cluster, half of which is of another; each is fitted by itself.
    assert (maa, clusterness) == (1, 0.5)
    assert whole == pytest.approx(2 / 3)


def test_outliers_in_a_cluster_cost_clusterness(truth: list[TableRow]) -> None:
    submitted = [
        replace(row, scene="castle", camera_from_world=np.eye(4)) if row.scene == OUTLIERS else row for row in truth
    ]
    maa, clusterness, _ = figures(score(truth, submitted))
    assert maa == 1
    assert clusterness == pytest.approx(2 * PICTURES / (2 * PICTURES + STRAYS))


def test_a_mapper_that_keeps_its_largest_model_only_loses_the_other_scene(truth: list[TableRow]) -> None:
    submitted = [without_pose(row) if row.scene == "bridge" else row for row in truth]
    maa, clusterness, whole = figures(score(truth, submitted))
    assert (maa, clusterness) == (0.5, 1)
    assert whole == pytest.approx(2 / 3)


def test_a_scene_in_two_parts_counts_the_larger_part_only(truth: list[TableRow]) -> None:
    submitted = [
        replace(row, scene="rest") if row.image in {f"castle_{k}.jpg" for k in range(4)} else row for row in truth
    ]
    maa, clusterness, _ = figures(score(truth, submitted))
    assert maa == pytest.approx((PICTURES + PICTURES - 4) / (2 * PICTURES))
    assert clusterness == 1


def test_pictures_that_are_not_registered_cost_accuracy(truth: list[TableRow]) -> None:
    submitted = [without_pose(row) if row.image == "castle_0.jpg" else row for row in truth]
    assert figures(score(truth, submitted))[0] == pytest.approx((2 * PICTURES - 1) / (2 * PICTURES))


def test_shuffled_poses_score_next_to_nothing(truth: list[TableRow]) -> None:
    rng = np.random.default_rng(8)
    order = rng.permutation(PICTURES)
    castle = [row for row in truth if row.scene == "castle"]
    bridge = [row for row in truth if row.scene == "bridge"]
    mixed = [
        replace(row, camera_from_world=rows[k].camera_from_world)
        for rows in (castle, bridge)
        for row, k in zip(rows, order, strict=True)
    ]
    submitted = mixed + [row for row in truth if row.scene == OUTLIERS]
    assert score(truth, submitted).datasets[0].maa < 0.15


def test_an_answer_without_clusters_scores_nothing(truth: list[TableRow]) -> None:
    assert figures(score(truth, [without_pose(row) for row in truth])) == (0, 0, 0)


def test_thresholds_are_shares_of_the_extent_or_metres(truth: list[TableRow]) -> None:
    """One camera of each scene is off by 3 % of its scene's extent: within 4 %, not within 0.5 %, however one fits."""
    submitted = []
    for row in truth:
        if row.image not in {"castle_0.jpg", "bridge_0.jpg"}:
            submitted.append(row)
            continue
        centres = np.array(
            [
                -r.camera_from_world[:3, :3].T @ r.camera_from_world[:3, 3]
                for r in truth
                if r.scene == row.scene and r.camera_from_world is not None
            ]
        )
        extent = np.linalg.norm(centres[:, None] - centres[None], axis=2).max()
        assert row.camera_from_world is not None
        off = np.array(row.camera_from_world)
        off[:3, 3] += [0.03 * extent, 0, 0]
        submitted.append(replace(row, camera_from_world=off))
    whole, missed = 1.0, (PICTURES - 1) / PICTURES
    assert score(truth, submitted, [0.04]).datasets[0].maa == whole
    assert score(truth, submitted, [0.005]).datasets[0].maa == pytest.approx(missed)
    assert score(truth, submitted, [0.005, 0.04]).datasets[0].maa == pytest.approx((whole + missed) / 2)
    assert score(truth, submitted, [1.0], metres=True).datasets[0].maa == whole
    assert score(truth, submitted, [0.01], metres=True).datasets[0].maa == pytest.approx(missed)


def test_data_sets_are_scored_each_by_itself(truth: list[TableRow]) -> None:
    other = [replace(row, dataset="second") for row in truth]
    lost = [without_pose(row) if row.scene == "bridge" else row for row in other]
    found = score(truth + other, truth + lost)
    assert [d.dataset for d in found.datasets] == ["mixed", "second"]
    assert found.score == pytest.approx((1 + 2 / 3) / 2)


def test_most_points_within_are_found_among_outliers_and_always_the_same() -> None:
    """Beyond 50 points hypotheses are drawn, not all tried."""
    rng = np.random.default_rng(9)
    true = rng.uniform(-10, 10, (120, 3))
    turn = Rotation.random(rng=rng).as_matrix()
    estimated = 0.3 * (true + rng.normal(0, 0.005, true.shape)) @ turn.T + 4
    estimated[:40] = rng.uniform(-10, 10, (40, 3))
    counts = {most_within(estimated, true, 0.05) for _ in range(3)}
    assert len(counts) == 1
    assert 80 <= counts.pop() <= 82


def test_cameras_in_one_place_fit_nothing() -> None:
    true = np.random.default_rng(1).uniform(-5, 5, (8, 3))
    assert most_within(np.zeros((8, 3)), true, 0.01) == 0
    assert most_within(true[:2], true[:2], 0.01) == 0


def test_a_submission_must_name_the_same_pictures(truth: list[TableRow]) -> None:
    with pytest.raises(ValueError, match="same pictures"):
        score(truth, truth[1:])


def test_the_command_reads_two_tables(truth: list[TableRow], tmp_path: Path) -> None:
    write_table(truth, tmp_path / "truth.csv")
    write_table([without_pose(row) if row.scene == "bridge" else row for row in truth], tmp_path / "answer.csv")
    command = [sys.executable, "-m", "bench.scene_score", str(tmp_path / "truth.csv"), str(tmp_path / "answer.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.search(r"mAA 0\.5000, clusterness 1\.0000, score 0\.6667", done.stdout)
    assert len(SHARES) == len(re.findall(r"\b12\b", done.stdout.split("within", 2)[2].split(",")[0]))
