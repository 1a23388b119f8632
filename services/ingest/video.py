"""Pictures of a capture in order: a video through PyAV, or a folder of picture files.

Both give `SourcePicture`s numbered by row of odometry.csv, in the sensor's own orientation.
"""

import zipfile
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from contracts.errors import ErrorCode, UserError
from services.ingest import pictures
from services.ingest.archive import Inspection, read_entry

CODECS = frozenset({"h264", "hevc", "prores", "mjpeg", "mpeg4", "av1", "libdav1d", "vp9"})
MAX_FRAMES = 400_000
GREY_SIDE_PX = 960
_UNSPECIFIED = 2
_INTERPOLATION = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# FFmpeg 8.1's full chroma interpolation writes wrong colours into parts of rgb48 pictures.
_DEEP_INTERPOLATION = Interpolation.BILINEAR | Interpolation.ACCURATE_RND

Rotation = Literal[0, 90, 180, 270]
Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class SourceInfo:
    """What a source declares about itself; sizes as stored, before any rotation."""

    kind: Literal["video", "images"]
    codec: str
    width_px: int
    height_px: int
    bit_depth: int
    """8 to 16; 16 with `is_float` for EXR."""
    is_float: bool
    fps: float | None
    rotation_deg: Rotation
    """What the file's tag asks players to do, clockwise."""


@dataclass
class Tally:
    """What became of the pictures of a source; filled while it is read."""

    found: int = 0
    damaged: int = 0
    damaged_names: list[str] = field(default_factory=list)


class SourcePicture(Protocol):
    """One decoded picture; its pixels are converted only when asked for."""

    @property
    def index(self) -> int:
        """Row of odometry.csv."""

    def grey(self) -> Grey:
        """Small 8-bit grey copy, longer side at most 960 pixels."""

    def rgb(self) -> pictures.Picture:
        """(h, w, 3) full-range RGB: uint8 for 8-bit sources, uint16 for deeper ones, float32 for EXR."""


class Source(Protocol):
    """A readable series of pictures."""

    info: SourceInfo
    tally: Tally

    def read(self, wanted: Callable[[int], bool]) -> Iterator[SourcePicture]:
        """Pictures by ascending index for which `wanted(index)`. Raises UserError INVALID_VIDEO, INVALID_IMAGE."""


@dataclass(frozen=True)
class VideoPicture:
    """A frame as the decoder left it, in YUV."""

    index: int
    frame: av.VideoFrame

    def grey(self) -> Grey:
        frame = self.frame
        bits = frame.format.components[0].bits
        if frame.format.name.startswith("yuv") and frame.format.is_planar:
            small = pictures.shrink(_luma(frame), GREY_SIDE_PX)
            return np.asarray(cv2.convertScaleAbs(small, alpha=1 / (1 << (bits - 8))), dtype=np.uint8)
        return np.asarray(
            pictures.shrink(np.asarray(frame.to_ndarray(format="gray"), np.uint8), GREY_SIDE_PX), dtype=np.uint8
        )

    def rgb(self) -> pictures.Picture:
        frame = self.frame
        is_deep = max(component.bits for component in frame.format.components) > 8
        matrix = None
        if int(frame.colorspace) == _UNSPECIFIED and not frame.format.is_rgb:
            # As players do: high definition is BT.709, the rest BT.601.
            matrix = Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
        converted = VideoReformatter().reformat(
            frame,
            format="rgb48le" if is_deep else "rgb24",
            src_colorspace=matrix,
            dst_color_range=ColorRange.JPEG,
            interpolation=_DEEP_INTERPOLATION if is_deep else _INTERPOLATION,
            threads=1,
        )
        array = converted.to_ndarray()
        return array.astype(np.uint16, copy=False) if is_deep else array.astype(np.uint8, copy=False)


def _luma(frame: av.VideoFrame) -> pictures.Picture:
    """The Y plane without a copy, (h, w) uint8 or uint16."""
    plane = frame.planes[0]
    if frame.format.components[0].bits == 8:
        narrow = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        return narrow[: frame.height, : frame.width]
    wide = np.frombuffer(memoryview(plane), np.uint16).reshape(-1, plane.line_size // 2)
    return wide[: frame.height, : frame.width]


class Video:
    """rgb.mp4 or rgb.mov. Frame numbers come from presentation times, so a frame that cannot be decoded shifts none."""

    def __init__(self, path: Path, num_threads: int) -> None:
        self._path = path
        self._num_threads = num_threads
        self.tally = Tally()
        with self._open() as container:
            self.info = _describe(container, path.name)

    def read(self, wanted: Callable[[int], bool]) -> Iterator[SourcePicture]:
        """Decode everything, yield what is wanted; see `Source.read`."""
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = self._num_threads
            # Sorted presentation times of the packets seen: a frame's number is how many come before it. A decoder
            # emits a frame only after every packet that is shown earlier went in.
            times: list[int] = []
            last_index = -1
            for packet in self._packets(container, stream):
                if packet.pts is not None and packet.size and not packet.is_discard:
                    insort(times, packet.pts)
                for frame in self._decode(packet):
                    index = last_index + 1 if frame.pts is None else max(last_index + 1, bisect_left(times, frame.pts))
                    last_index = index
                    self._check_frame(frame)
                    if wanted(index):
                        yield VideoPicture(index, frame)
        if not self.tally.found:
            raise UserError(
                ErrorCode.INVALID_VIDEO, f"No frame of {self._path.name} can be decoded.", field=self._path.name
            )

    def _open(self) -> "av.container.InputContainer":
        try:
            # The format is fixed: a playlist or script under this name must not make FFmpeg open other files.
            return av.open(str(self._path), format="mov", metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            raise UserError(
                ErrorCode.INVALID_VIDEO,
                f"{self._path.name} cannot be opened as MP4 or MOV ({error.__class__.__name__}); if the recording was "
                "cut off before the phone finished the file, it cannot be read.",
                field=self._path.name,
            ) from error

    def _packets(
        self, container: "av.container.InputContainer", stream: "av.VideoStream"
    ) -> Iterator["av.Packet[av.VideoStream]"]:
        try:
            yield from container.demux(stream)
        except av.FFmpegError:
            self.tally.damaged += 1

    def _decode(self, packet: "av.Packet[av.VideoStream]") -> list[av.VideoFrame]:
        if packet.is_corrupt:
            self.tally.damaged += 1
            return []
        try:
            frames = packet.decode()
        except av.FFmpegError:
            self.tally.damaged += 1
            return []
        whole = [frame for frame in frames if isinstance(frame, av.VideoFrame) and not frame.is_corrupt]
        self.tally.damaged += len(frames) - len(whole)
        self.tally.found += len(whole)
        return whole

    def _check_frame(self, frame: av.VideoFrame) -> None:
        if (frame.width, frame.height) != (self.info.width_px, self.info.height_px):
            raise UserError(
                ErrorCode.INVALID_VIDEO,
                f"{self._path.name} changes its size from {self.info.width_px}x{self.info.height_px} to "
                f"{frame.width}x{frame.height} on the way.",
                field=self._path.name,
            )
        if self.tally.found > MAX_FRAMES:
            raise UserError(
                ErrorCode.INVALID_VIDEO,
                f"{self._path.name} has more than {MAX_FRAMES} frames; split the capture.",
                field=self._path.name,
            )


def _describe(container: "av.container.InputContainer", name: str) -> SourceInfo:
    if not container.streams.video:
        raise UserError(
            ErrorCode.INVALID_VIDEO,
            f"{name} holds no video track that can be read; the file may have been cut off. Export it again.",
            field=name,
        )
    stream = container.streams.video[0]
    context = stream.codec_context
    codec = context.name if context is not None else "unknown"
    if codec not in CODECS:
        raise UserError(
            ErrorCode.INVALID_VIDEO, f"{name} is coded as {codec}; H.264, HEVC and ProRes are read.", field=name
        )
    if stream.frames > MAX_FRAMES:
        raise UserError(
            ErrorCode.INVALID_VIDEO, f"{name} has {stream.frames} frames; at most {MAX_FRAMES}.", field=name
        )
    pictures.check_size(context.width, context.height, ErrorCode.INVALID_VIDEO, name)
    first = _first_frame(container, name)
    rate = stream.average_rate
    return SourceInfo(
        kind="video",
        codec=codec,
        width_px=first.width,
        height_px=first.height,
        bit_depth=max(component.bits for component in first.format.components),
        is_float=False,
        fps=float(rate) if rate else None,
        rotation_deg=_clockwise(first.rotation),
    )


def _first_frame(container: "av.container.InputContainer", name: str) -> av.VideoFrame:
    try:
        for frame in container.decode(video=0):
            return frame
    except av.FFmpegError as error:
        raise UserError(
            ErrorCode.INVALID_VIDEO, f"The first frame of {name} cannot be decoded; export it again.", field=name
        ) from error
    raise UserError(ErrorCode.INVALID_VIDEO, f"{name} holds no frames.", field=name)


def _clockwise(rotation_deg: int) -> Rotation:
    """FFmpeg tells the counter-clockwise angle that the display matrix stands for."""
    quarter_turns = round(-rotation_deg / 90) % 4
    rotations: tuple[Rotation, ...] = (0, 90, 180, 270)
    return rotations[quarter_turns]


@dataclass(frozen=True)
class FilePicture:
    """A decoded picture file."""

    index: int
    pixels: pictures.Picture

    def grey(self) -> Grey:
        return pictures.grey_8bit(self.pixels, GREY_SIDE_PX)

    def rgb(self) -> pictures.Picture:
        return self.pixels


class Images:
    """The folder rgb/: one file a row. Files that cannot be decoded are left out and counted."""

    def __init__(self, archive: zipfile.ZipFile, inspection: Inspection, file_of_row: dict[int, str]) -> None:
        if not file_of_row:
            raise UserError(
                ErrorCode.INVALID_CAPTURE,
                f"No picture in rgb/ has the number of a row of odometry.csv (found {inspection.images[0]}).",
                field="rgb",
            )
        self._archive = archive
        self._inspection = inspection
        self._file_of_row = file_of_row
        self.tally = Tally(found=len(file_of_row))
        header = self._first_header()
        self.info = SourceInfo(
            kind="images",
            codec=header.codec,
            width_px=header.width_px,
            height_px=header.height_px,
            bit_depth=16 if header.bit_depth > 8 else 8,
            is_float=header.codec == "exr",
            fps=None,
            rotation_deg=0,
        )

    def read(self, wanted: Callable[[int], bool]) -> Iterator[SourcePicture]:
        """Decode what is wanted; see `Source.read`."""
        for row in sorted(self._file_of_row):
            if wanted(row) and (picture := self._load(row)) is not None:
                yield picture

    def _first_header(self) -> pictures.Header:
        for row in sorted(self._file_of_row):
            name = self._file_of_row[row]
            try:
                return pictures.read_header(read_entry(self._archive, self._inspection, name), name)
            except UserError as error:
                if error.code is not ErrorCode.INVALID_IMAGE:
                    raise
        raise UserError(ErrorCode.INVALID_IMAGE, "No picture in rgb/ can be read.", field="rgb")

    def _load(self, row: int) -> FilePicture | None:
        name = self._file_of_row[row]
        try:
            pixels = pictures.read_picture(read_entry(self._archive, self._inspection, name), name)
        except UserError as error:
            if error.code is not ErrorCode.INVALID_IMAGE:
                raise
            pixels = None
        expected = (self.info.height_px, self.info.width_px)
        if pixels is None or pixels.shape[:2] != expected or (pixels.dtype == np.float32) != self.info.is_float:
            self.tally.found -= 1
            self.tally.damaged += 1
            self.tally.damaged_names.append(name)
            return None
        if pixels.dtype == np.uint16 and self.info.bit_depth == 8:
            pixels = pictures.to_8bit(pixels)
        return FilePicture(row, pixels)
