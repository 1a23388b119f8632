"""Who agrees with whom, and which groups cannot show the same place."""

import numpy as np

from services.sfm.photos.agreement import Agreement


def test_pairs_far_below_the_usual_share_are_in_conflict() -> None:
    found = Agreement(
        np.array([(1, 2), (2, 3), (1, 3), (3, 4), (1, 4)]),
        np.array([100, 200, 100, 100, 10]),
        np.array([80, 150, 90, 5, 0]),
    )
    assert found.conflicts.tolist() == [False, False, False, True, False]


def test_groups_that_conflict_are_told_apart_from_groups_that_only_do_not_meet() -> None:
    pairs = [(1, 2), (2, 3), (4, 5), (5, 6), (7, 8), (3, 4), (1, 5), (6, 7)]
    expected = [100, 100, 100, 100, 100, 100, 100, 10]
    matched = [80, 80, 80, 80, 80, 5, 8, 0]
    groups, conflicts = Agreement(np.array(pairs), np.array(expected), np.array(matched)).sides()
    assert groups[1] == groups[2] == groups[3]
    assert groups[4] == groups[5] == groups[6]
    assert len({groups[1], groups[4], groups[7]}) == 3
    assert conflicts == {(min(groups[1], groups[4]), max(groups[1], groups[4]))}


def test_a_conflict_within_a_group_that_agrees_otherwise_parts_nobody() -> None:
    pairs = [(1, 2), (2, 3), (1, 3)]
    _, conflicts = Agreement(np.array(pairs), np.array([100] * 3), np.array([80, 80, 2])).sides()
    assert conflicts == set()


def test_without_pairs_nobody_conflicts() -> None:
    nothing = Agreement(np.zeros((0, 2), np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert nothing.sides() == ({}, set())
