"""Step 4: what belongs together, and a model of each.

In: the database with verified matches. Out: `sparse/0` (the largest) and on, and `mapping.json`.

The view graph falls apart into clusters; each is mapped by COLMAP's incremental mapper (Schönberger and Frahm 2016), which may
make several models of it. Pairs that a model shows to be in conflict are dropped and the cluster is mapped once more. Models
that agree become one; a picture that is in two is left in the one that has more points of it. With one thread and fixed seeds
the same matches give the same models.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap

from contracts.errors import ErrorCode, UserError
from contracts.model import Message
from contracts.photos import PICTURES_FOLDER
from contracts.progress import Reporter
from services.sfm.database import DATABASE_NAME
from services.sfm.gating import without_pairs
from services.sfm.models import MAPPING_NAME, Bools, Ints
from services.sfm.photos import merging
from services.sfm.photos.agreement import agreement
from services.sfm.photos.matching import MIN_INLIERS
from services.sfm.photos.view_graph import Clusters, ViewGraph, cluster, read_view_graph

MIN_MODEL_PICTURES = 3
MAX_MODELS = 25
THREADS = 1
MAX_AWAY = 20.0
"""Times the usual distance of a model's pictures to what they see: a pose that is farther off is a wrong one."""
MIN_MODEL_POINTS = 30
_MOST_MERGES = 40


class ModelSummary(Message):
    """One model that is delivered."""

    pictures: tuple[str, ...]
    """Names in the database."""
    points: int
    reprojection_error_px: float
    focal_lengths_px: tuple[float, ...]


class SceneMapping(Message):
    """`mapping.json`: what came out of mapping, the largest model first, as in `sparse/`."""

    models: tuple[ModelSummary, ...]
    pictures: int
    pairs: int
    refuted_pairs: int
    """Verified pairs that were not believed."""
    clusters: int
    """Parts that the view graph fell into."""


def mapper_options() -> pycolmap.IncrementalPipelineOptions:
    """Focal lengths and distortion refined, principal points not; fixed seed, one thread."""
    options = pycolmap.IncrementalPipelineOptions()
    options.min_num_matches = MIN_INLIERS
    options.min_model_size = MIN_MODEL_PICTURES
    options.max_num_models = MAX_MODELS
    options.num_threads = THREADS
    options.random_seed = 0
    options.extract_colors = False
    return options


def _map(database: Path, names: Iterable[str], registered: Callable[[], None]) -> list[pycolmap.Reconstruction]:
    """Models of the named pictures, in the mapper's order."""
    options = mapper_options()
    options.image_names = list(names)
    manager = pycolmap.ReconstructionManager()
    with pycolmap.Database.open(database) as db:
        pipeline = pycolmap.IncrementalPipeline(options, db, manager)
        pipeline.add_callback(int(pycolmap.IncrementalPipelineCallback.NEXT_IMAGE_REG_CALLBACK), registered)
        pipeline.run()
    models = [manager.get(index) for index in range(manager.size())]
    for model in models:
        model.tear_down()
    return models


def conflicting_pairs(models: list[pycolmap.Reconstruction], graph: ViewGraph) -> list[tuple[int, int]]:
    """Verified pairs (image ids) between pictures that their model shows to be of look-alikes."""
    found = []
    for model in models:
        groups, conflicts = agreement(model).sides()
        for first, second in graph.pairs + 1:
            a, b = groups.get(int(first)), groups.get(int(second))
            if a is not None and b is not None and (min(a, b), max(a, b)) in conflicts:
                found.append((int(first), int(second)))
    return found


@dataclass
class _Mapper:
    """The database as mappers may see it, and what goes on in it."""

    source: Path
    gated: Path
    names: dict[int, str]
    graph: ViewGraph
    refuted: set[tuple[int, int]]
    report: Reporter
    done: int = 0

    def gate(self, more: Iterable[tuple[int, int]]) -> None:
        """Hide further pairs (image ids)."""
        self.refuted.update(more)
        without_pairs(self.source, sorted(self.refuted), self.gated)

    def _registered(self) -> None:
        self.done = min(self.done + 1, len(self.names))
        self.report.progress(self.done, len(self.names), "Registering pictures")

    def models_of(self, image_ids: Ints) -> list[pycolmap.Reconstruction]:
        """Models of one cluster; mapped once more where the first ones are in conflict with themselves."""
        names = [self.names[int(image_id)] for image_id in image_ids]
        models = _map(self.gated, names, self._registered)
        conflicts = conflicting_pairs(models, self.graph)
        if conflicts:
            self.report.log(f"{len(conflicts)} pairs look alike but show different things: mapped anew without them")
            self.gate(conflicts)
            self.done = max(0, self.done - len(names))
            models = _map(self.gated, names, self._registered)
        return models


def without_doubtful(model: pycolmap.Reconstruction) -> pycolmap.Reconstruction:
    """Take poses from pictures with too little support or far from everything, in place."""
    usual = merging.typical_distance(model)
    held = merging.supported(model)
    centres = {image_id: model.image(image_id).projection_center() for image_id in model.reg_image_ids()}
    middle = np.median(list(centres.values()), axis=0) if centres else np.zeros(3)
    spread = float(np.median([np.linalg.norm(centre - middle) for centre in centres.values()])) if centres else 0.0
    for image_id, centre in centres.items():
        if image_id not in held or np.linalg.norm(centre - middle) > MAX_AWAY * max(usual, spread):
            model.deregister_frame(model.image(image_id).frame_id)
    return model


def joined(
    models: list[pycolmap.Reconstruction], matches: merging.Verified, scratch: Path
) -> list[pycolmap.Reconstruction]:
    """Merge models as long as two agree, the largest first."""
    waiting = _by_size(models)
    refused: set[tuple[int, int]] = set()
    for number in range(_MOST_MERGES):
        pair = _next_pair(waiting, refused)
        if pair is None:
            break
        larger, smaller = waiting[pair[0]], waiting[pair[1]]
        united = merging.merged(smaller, larger, matches, scratch / str(number))
        if united is None:
            refused.add((id(larger), id(smaller)))
        else:
            rest = [model for model in waiting if model is not larger and model is not smaller]
            waiting = _by_size([without_doubtful(united), *rest])
    return waiting


def _next_pair(models: list[pycolmap.Reconstruction], refused: set[tuple[int, int]]) -> tuple[int, int] | None:
    for a, larger in enumerate(models):
        for b in range(a + 1, len(models)):
            if (id(larger), id(models[b])) not in refused:
                return a, b
    return None


def _by_size(models: list[pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
    return sorted(models, key=lambda model: (-model.num_reg_images(), -model.num_points3D()))


def each_picture_once(models: list[pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
    """A picture with a pose in several models keeps the one that has most points of it. In place; largest first."""
    best: dict[int, tuple[int, int]] = {}
    for number, model in enumerate(models):
        for image_id in model.reg_image_ids():
            points = model.image(image_id).num_points3D
            if image_id not in best or points > best[image_id][0]:
                best[image_id] = points, number
    for number, model in enumerate(models):
        for image_id in sorted(model.reg_image_ids()):
            if best[image_id][1] != number:
                model.deregister_frame(model.image(image_id).frame_id)
    whole = [
        model
        for model in models
        if model.num_reg_images() >= MIN_MODEL_PICTURES and model.num_points3D() >= MIN_MODEL_POINTS
    ]
    return _by_size(whole)[:MAX_MODELS]


def no_model(pictures: int, pairs: int, reason: str) -> UserError:
    """The error of a collection that yields no model."""
    return UserError(
        ErrorCode.NO_MODEL,
        f"No model could be made from {pictures} pictures, of which {pairs} pairs match: {reason}. Take at least three "
        "sharp pictures of one place with texture, each from a step to the side and with most of the last one's view in it.",
        field="file",
    )


def _clusters(graph: ViewGraph, report: Reporter) -> Clusters:
    clusters = cluster(graph, MIN_MODEL_PICTURES)
    alone = int((clusters.labels < 0).sum())
    report.log(
        f"{clusters.count} part(s) of the collection hang together, {alone} pictures stand alone; "
        f"{len(clusters.refuted)} of {len(graph.pairs)} verified pairs are not believed"
    )
    return clusters


def _write(models: list[pycolmap.Reconstruction], pictures: Path, out_dir: Path) -> None:
    for number, model in enumerate(models):
        model.tear_down()
        model.normalize()
        model.extract_colors_for_all_images(pictures, -1)
        model.update_point_3d_errors()
        folder = out_dir / "sparse" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        model.write_binary(folder)


def _summary(models: list[pycolmap.Reconstruction], graph: ViewGraph, refuted: int, clusters: int) -> SceneMapping:
    return SceneMapping(
        models=tuple(
            ModelSummary(
                pictures=tuple(sorted(model.image(image_id).name for image_id in model.reg_image_ids())),
                points=model.num_points3D(),
                reprojection_error_px=model.compute_mean_reprojection_error(),
                focal_lengths_px=tuple(camera.mean_focal_length() for _, camera in sorted(model.cameras.items())),
            )
            for model in models
        ),
        pictures=graph.pictures,
        pairs=len(graph.pairs),
        refuted_pairs=refuted,
        clusters=clusters,
    )


def _kept(graph: ViewGraph, refuted: set[tuple[int, int]]) -> Bools:
    return np.array([(int(a), int(b)) not in refuted for a, b in graph.pairs + 1], np.bool_)


def main(collection: Path, matching_dir: Path, out_dir: Path, report: Reporter) -> SceneMapping:
    """Map a collection; writes `out_dir/sparse/*` and `out_dir/mapping.json`, and returns what the latter holds.

    Models are scaled as COLMAP does it: the middle 80 % of the camera centres span ten units. Raises UserError(NO_MODEL).
    """
    database = matching_dir / DATABASE_NAME
    out_dir.mkdir(parents=True, exist_ok=True)
    with pycolmap.Database.open(database) as db:
        names = {image.image_id: image.name for image in db.read_all_images()}
    graph = read_view_graph(database, len(names))
    if not len(graph.pairs):
        raise no_model(len(names), 0, "no two of them show the same thing")
    clusters = _clusters(graph, report)
    hidden = [(int(a), int(b)) for a, b in graph.pairs[clusters.refuted] + 1]
    mapper = _Mapper(database, out_dir / "gated.db", names, graph, set(), report)
    mapper.gate(hidden)
    models = []
    for label in range(clusters.count):
        models += mapper.models_of(np.flatnonzero(clusters.labels == label) + 1)
    models = [without_doubtful(model) for model in models]
    believed = graph.only(_kept(graph, mapper.refuted))
    models = joined(models, merging.Verified(believed, mapper.gated, mapper_options()), out_dir / "merging")
    models = each_picture_once(models)
    refuted = len(mapper.refuted)
    _remove_scratch(mapper.gated, out_dir / "merging")
    if not models:
        raise no_model(len(names), len(graph.pairs), "they do not hang together, or were all taken from one spot")
    _write(models, collection / PICTURES_FOLDER, out_dir)
    summary = _summary(models, graph, refuted, clusters.count)
    (out_dir / MAPPING_NAME).write_text(summary.model_dump_json(indent=2), encoding="utf-8")
    _tell(summary, report)
    return summary


def _remove_scratch(gated: Path, merging_dir: Path) -> None:
    gated.unlink(missing_ok=True)
    for path in sorted(merging_dir.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    if merging_dir.is_dir():
        merging_dir.rmdir()


def _tell(summary: SceneMapping, report: Reporter) -> None:
    for number, model in enumerate(summary.models):
        focal_lengths = ", ".join(f"{focal:.0f}" for focal in model.focal_lengths_px[:4])
        report.log(
            f"cluster{number}: {len(model.pictures)} pictures, {model.points:,} points, reprojection error "
            f"{model.reprojection_error_px:.2f} px, focal length {focal_lengths} px"
        )
    placed = sum(len(model.pictures) for model in summary.models)
    if placed < summary.pictures:
        report.log(f"{summary.pictures - placed} of {summary.pictures} pictures are in no model")
