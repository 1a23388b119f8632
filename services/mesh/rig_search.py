"""The search for a rig that makes six depth renders agree, from coarse to fine.

Outlines alone leave few arrangements of the views and give a focal length to start from. Depth decides between those, and which sign
it has. A shape that is its own mirror image leaves several that fit alike: there the colours decide.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contracts.progress import Reporter
from services.mesh import alignment_cost as agreement
from services.mesh import colour_agreement, outlines
from services.mesh.alignment_cost import Guess, Scene, SeenView, Space
from services.mesh.colour_agreement import Agreement, SmallView
from services.mesh.colour_offset import view_shifts
from services.mesh.depth import DepthScale, decode
from services.mesh.outlines import Fit
from services.mesh.rig import assumed_cameras
from services.mesh.turns import Turn, Turns, surprise
from services.mesh.views import SixViews

Floats = NDArray[np.float64]
_COARSE = (160, 250)
_FINE = (512, 1500)
"""Picture width and samples of a view, for the search and for the last refinement."""
_OUTLINE_SLACK = 0.002
"""Arrangements whose outlines fit worse than the best by less than this are looked at: a pixel, in picture widths."""
_CLOSE = 1.15
"""Coarse costs within this factor of the best are looked at more closely."""
_SIDES_CLOSE, _MOST_SIDES = 1.4, 6
_MOST_WHOLE = 6
_MOST_FINE = 3
_TIE = 1.03
"""Fine costs within this factor of the best count as equal."""
_COLOUR_TIE = 1.015
"""Differences of colour within this factor of the least count as equal; then the guess that assumes least wins."""
_SHIFT_TIE = 0.001
"""Spreads of shifts that differ by less than this are alike: half a pixel, in picture widths."""
_SIGMA = 0.002
"""What the last refinement tells apart, in picture widths: a pixel."""
_FOCAL_STEP = 0.02


@dataclass(frozen=True)
class Candidate:
    """An arrangement of some of the views, the first ones, with what was found for it."""

    turns: Turns
    near_is_bright: bool
    guess: Guess
    cost: float
    colours: Agreement
    shift_spread: float
    """How differently the views say the pictures lie beside the depth renders, in picture widths."""

    @property
    def preference(self) -> tuple[int, float]:
        """Smaller is more likely, where depth does not tell: pictures that all lie alike, then colours that agree."""
        difference = self.colours.difference
        return round(self.shift_spread / _SHIFT_TIE), 1.0 if difference is None else difference


class RigSearch:
    """Tries rigs for six views."""

    def __init__(self, views: SixViews, backgrounds: tuple[int, ...]) -> None:
        self._depths = views.depths
        self._backgrounds = backgrounds
        self.masks = tuple(raw != background for raw, background in zip(views.depths, backgrounds, strict=True))
        self._thinned = [colour_agreement.thinned(raw) for raw in views.depths]
        self._shifts = shifts = view_shifts(views, backgrounds)
        self._colours = [
            colour_agreement.lying_on_depth(colour, raw.shape[:2], shift or (0.0, 0.0))
            for colour, raw, shift in zip(views.colours, self._thinned, shifts, strict=True)
        ]
        self.fits: dict[Turns, Fit] = {}
        """What outlines say of arrangements of all views, or of the four sides."""
        self._prepared: dict[tuple[int, Turn, bool, int], SeenView] = {}

    def best(self, report: Reporter) -> Candidate:
        """Sides first, then top and bottom, then everything at once, finely."""
        every = outlines.fits(self.masks)
        most = outlines.hardly_worse(every[0].misfit, _OUTLINE_SLACK)
        allowed = [fit for fit in every if fit.misfit <= most]
        # The fits are in order: the first one with some sides is the best with these.
        self.fits |= {fit.turns[:4]: fit for fit in reversed(allowed)} | {fit.turns: fit for fit in allowed}
        report.progress(1, 5, "Outlines")
        sides = self._sides(allowed)
        report.progress(2, 5, "Sides")
        whole = [c for side in sides for c in self._with_top_and_bottom(side, allowed)]
        coarse = [self._refined(candidate) for candidate in _promising(whole, _MOST_WHOLE)]
        report.progress(3, 5, "Top and bottom")
        fine = [self.settled(candidate) for candidate in _promising(coarse, _MOST_FINE)]
        report.progress(4, 5, "All views")
        found = self.exact(_preferred(fine))
        report.progress(5, 5, "Refinement")
        return found

    def _sides(self, allowed: list[Fit]) -> list[Candidate]:
        """Front, back, left and right in every arrangement that is allowed, with either sign; those that are close."""
        found = []
        for turns, near_is_bright in itertools.product(dict.fromkeys(fit.turns[:4] for fit in allowed), (False, True)):
            scene = self.scene(turns, near_is_bright, _COARSE)
            guess = agreement.first_guess(scene, self.fits[turns].focal)
            guess = agreement.optimised(scene, guess, (0.04,), rounds=7, free=all_values(guess)[1:])
            guess = agreement.optimised(scene, guess, (0.04,), rounds=5, free=all_values(guess))
            cost = agreement.cost(scene, guess)
            small = self._small(turns, near_is_bright, guess)
            colours = colour_agreement.agreement(small)
            found.append(Candidate(turns, near_is_bright, guess, cost, colours, self._shift_spread(turns)))
        lowest = min(candidate.cost for candidate in found)
        close = [candidate for candidate in found if candidate.cost <= _SIDES_CLOSE * lowest]
        return sorted(close, key=lambda c: c.cost)[:_MOST_SIDES]

    def _with_top_and_bottom(self, side: Candidate, allowed: list[Fit]) -> list[Candidate]:
        """The four views with each allowed way to add top and bottom, tried singly and summed."""
        scene = self.scene(side.turns, side.near_is_bright, _COARSE)
        space = agreement.hull(scene, side.guess.focal)
        options: dict[tuple[int, Turn], _Option] = {}
        found = []
        for fit in allowed:
            if fit.turns[:4] != side.turns:
                continue
            for upload in (4, 5):
                key = (upload, fit.turns[upload])
                if key not in options:
                    options[key] = self._one_more(side, space, upload, fit.turns[upload])
            top, bottom = options[4, fit.turns[4]], options[5, fit.turns[5]]
            guess = side.guess.extended(top.scale).extended(bottom.scale)
            cost, colours = side.cost + top.cost + bottom.cost, side.colours + top.colours + bottom.colours
            spread = self._shift_spread(fit.turns)
            found.append(Candidate(fit.turns, side.near_is_bright, guess, cost, colours, spread))
        return found

    def _one_more(self, side: Candidate, space: Space, upload: int, turn: Turn) -> "_Option":
        uploads, turns, new = (0, 1, 2, 3, upload), (*side.turns, turn), 4
        scene = self.scene(turns, side.near_is_bright, _COARSE, uploads)
        guess = agreement.extended_guess(scene, side.guess, space)
        guess = agreement.optimised(scene, guess, (0.05,), rounds=6, free=all_values(guess)[-2:], only=new)
        colours = colour_agreement.agreement(self._small(turns, side.near_is_bright, guess, uploads), only=new)
        return _Option(guess.values[-2:], agreement.cost(scene, guess, only=new), colours)

    def _refined(self, candidate: Candidate) -> Candidate:
        def refined(scene: Scene, guess: Guess) -> Guess:
            guess = agreement.optimised(scene, guess, (0.04,), rounds=8, free=all_values(guess))
            guess = agreement.other_ranges(scene, guess, 0.015)
            return agreement.optimised(scene, guess, (0.015,), rounds=8, free=all_values(guess))

        return self._improved(candidate, _COARSE, refined)

    def settled(self, candidate: Candidate) -> Candidate:
        """The same, finely."""

        def settled(scene: Scene, guess: Guess) -> Guess:
            return agreement.optimised(scene, guess, (0.01, 0.005), rounds=8, free=all_values(guess))

        return self._improved(candidate, _FINE, settled)

    def exact(self, candidate: Candidate) -> Candidate:
        """The same, as exactly as the pictures allow."""
        return self._improved(candidate, _FINE, lambda scene, guess: agreement.settled_focal(scene, guess, _SIGMA))

    def at_focal(self, candidate: Candidate, focal: float) -> Candidate:
        """The same arrangement with this focal length, and all else as it fits best."""

        def fitted(scene: Scene, guess: Guess) -> Guess:
            guess = guess.at_focal(focal)
            return agreement.optimised(scene, guess, (0.04, 0.01, _SIGMA), rounds=8, free=all_values(guess)[1:])

        return self._improved(candidate, _FINE, fitted)

    def rise_off_focal(self, best: Candidate) -> float:
        """By which share the cost rises, at least, where the focal length is a little off and all else makes the best of it."""
        scene = self.scene(best.turns, best.near_is_bright, _FINE)
        lowest = agreement.cost(scene, best.guess, _SIGMA)
        rises = []
        for factor in (1 - _FOCAL_STEP, 1 + _FOCAL_STEP):
            moved = best.guess.at_focal(best.guess.focal * factor)
            moved = agreement.optimised(scene, moved, (_SIGMA,), rounds=6, free=all_values(moved)[1:])
            rises.append(agreement.cost(scene, moved, _SIGMA) / lowest - 1)
        return min(rises)

    def scales(self, candidate: Candidate) -> tuple[DepthScale, ...]:
        """What the values of the depth renders mean."""
        scene = self.scene(candidate.turns, candidate.near_is_bright, _FINE)
        return depth_scales(scene, candidate.guess, candidate.near_is_bright, self._backgrounds)

    def _improved(
        self, candidate: Candidate, grain: tuple[int, int], improve: Callable[[Scene, Guess], Guess]
    ) -> Candidate:
        scene = self.scene(candidate.turns, candidate.near_is_bright, grain)
        guess = improve(scene, candidate.guess)
        small = self._small(candidate.turns, candidate.near_is_bright, guess)
        return replace(
            candidate,
            guess=guess,
            cost=agreement.cost(scene, guess),
            colours=colour_agreement.agreement(small),
        )

    def _shift_spread(self, turns: Turns) -> float:
        """Mean distance of the views' shifts, as their cameras saw them, from the one in the middle."""
        known = [
            turn.restored_places(np.array([shift]))[0]
            for turn, shift in zip(turns, self._shifts, strict=False)
            if shift is not None
        ]
        if not known:
            return 0.0
        places = np.array(known)
        return float(np.linalg.norm(places - np.median(places, axis=0), axis=1).mean())

    def scene(
        self,
        turns: Turns,
        near_is_bright: bool,
        grain: tuple[int, int],
        uploads: tuple[int, ...] = (0, 1, 2, 3, 4, 5),
    ) -> Scene:
        """The first uploads, or those with these numbers, each with its turn."""
        seen = tuple(self._view(u, turn, near_is_bright, grain) for u, turn in zip(uploads, turns, strict=False))
        fit = self.fits.get(turns)
        return Scene(seen) if fit is None else Scene(seen, fit.possible)

    def _view(self, upload: int, turn: Turn, near_is_bright: bool, grain: tuple[int, int]) -> SeenView:
        key = (upload, turn, near_is_bright, grain[0])
        if key not in self._prepared:
            self._prepared[key] = agreement.seen_view(
                turn.restored(self._depths[upload]),
                self._backgrounds[upload],
                agreement.rig_stand(turn.pose),
                near_is_bright=near_is_bright,
                size_px=grain[0],
                points=grain[1],
            )
        return self._prepared[key]

    def _small(
        self,
        turns: Turns,
        near_is_bright: bool,
        guess: Guess,
        uploads: tuple[int, ...] = (0, 1, 2, 3, 4, 5),
    ) -> tuple[SmallView, ...]:
        scene = self.scene(turns, near_is_bright, _COARSE, uploads)
        backgrounds = tuple(self._backgrounds[upload] for upload in uploads[: len(turns)])
        views = []
        for upload, turn, scale in zip(
            uploads, turns, depth_scales(scene, guess, near_is_bright, backgrounds), strict=False
        ):
            depth = decode(turn.restored(self._thinned[upload]), scale)
            height, width = depth.shape
            camera = assumed_cameras(width, height, guess.focal)[turn.pose]
            views.append(SmallView(camera, depth, turn.restored(self._colours[upload])))
        return tuple(views)


@dataclass(frozen=True)
class _Option:
    """One view beside four others: the two values of its depth scale, what it costs, and how the colours agree."""

    scale: Floats
    cost: float
    colours: Agreement


def all_values(guess: Guess) -> NDArray[np.int64]:
    """Index of every value of a guess; the first is the focal length."""
    return np.arange(len(guess.values))


def depth_scales(
    scene: Scene, guess: Guess, near_is_bright: bool, backgrounds: tuple[int, ...]
) -> tuple[DepthScale, ...]:
    """What the values of the depth renders of a scene mean under a guess."""
    scales = []
    for i, (view, background) in enumerate(zip(scene.views, backgrounds, strict=True)):
        step = guess.extent(i) / max(view.high - view.low, 1.0)
        if near_is_bright:
            scales.append(DepthScale(guess.near(i) + step * view.high, -step, background))
        else:
            scales.append(DepthScale(guess.near(i) - step * view.low, step, background))
    return tuple(scales)


def _promising(candidates: list[Candidate], most: int) -> list[Candidate]:
    """A few that fit best, and of those nearly as good a few whose colours agree best, and the one that assumes least."""
    lowest = min(candidate.cost for candidate in candidates)
    ordered = sorted(candidates, key=lambda c: c.cost)
    close = [candidate for candidate in ordered if candidate.cost <= _CLOSE * lowest]
    by_colour = sorted(close, key=lambda c: c.preference)
    plain = min(close, key=lambda c: (surprise(c.turns), c.cost))
    return list({(c.turns, c.near_is_bright): c for c in [*ordered[:most], *by_colour[:most], plain]}.values())


def _preferred(candidates: list[Candidate]) -> Candidate:
    """The one that fits best; of those that fit alike, of those whose colours agree best, the one that assumes least."""
    lowest = min(candidate.cost for candidate in candidates)
    tied = [candidate for candidate in candidates if candidate.cost <= _TIE * lowest]
    likeliest, least = min(candidate.preference for candidate in tied)
    alike = [c for c in tied if c.preference[0] == likeliest and c.preference[1] <= _COLOUR_TIE * least]
    return min(alike, key=lambda c: (surprise(c.turns), c.cost))
