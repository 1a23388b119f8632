import struct
import zipfile
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import OpenEXR
import pytest

from contracts.errors import ErrorCode, UserError
from services.ingest import pictures
from services.ingest.archive import inspect_archive
from services.ingest.video import Images, Video
from tests.services.ingest.box_room import encode_video, png, zip_bytes

SIZE = (160, 120)


def shades(count: int) -> list[npt.NDArray[np.uint8]]:
    """Flat frames; their grey tells their number."""
    return [np.full((SIZE[1], SIZE[0], 3), 20 + 10 * i, dtype=np.uint8) for i in range(count)]


def numbers(video: Video) -> dict[int, int]:
    """{frame index: number told by its grey}."""
    return {
        picture.index: round((float(np.mean(pictures.to_8bit(picture.rgb()))) - 20) / 10)
        for picture in video.read(lambda _: True)
    }


CODECS = {
    "h264": ("libx264", "yuv420p", "mp4", 8),
    "hevc": ("libx265", "yuv420p10le", "mp4", 10),
    "prores": ("prores_ks", "yuv422p10le", "mov", 10),
}


@pytest.mark.parametrize("codec", CODECS)
def test_every_frame_is_found_with_its_number_and_depth(codec: str, tmp_path: Path) -> None:
    encoder, pixel_format, suffix, bits = CODECS[codec]
    path = tmp_path / f"rgb.{suffix}"
    encode_video(path, shades(20), codec=encoder, pixel_format=pixel_format)
    video = Video(path, 2)
    assert (video.info.codec, video.info.bit_depth, video.info.fps) == (codec, bits, 60)
    assert (video.info.width_px, video.info.height_px, video.info.rotation_deg) == (*SIZE, 0)
    assert numbers(video) == {i: i for i in range(20)}
    assert (video.tally.found, video.tally.damaged) == (20, 0)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", [1, 5, 9])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_colours_come_out_right_for_every_tag(codec: str, matrix: int, full_range: bool, tmp_path: Path) -> None:
    encoder, pixel_format, suffix, bits = CODECS[codec]
    path = tmp_path / f"rgb.{suffix}"
    colour = np.array([200, 60, 30], dtype=np.uint8)
    frame = np.broadcast_to(colour, (SIZE[1], SIZE[0], 3)).copy()
    # Five frames: FFmpeg's MP4 writer at times refuses an x265 stream of a single one.
    encode_video(
        path, [frame] * 5, codec=encoder, pixel_format=pixel_format, matrix=matrix, full_range=full_range,
        options={"crf": "4"},
    )  # fmt: skip
    picture = next(iter(Video(path, 1).read(lambda _: True))).rgb()
    assert picture.dtype == (np.uint8 if bits == 8 else np.uint16)
    found = picture.astype(float) / (1 if bits == 8 else 257)
    assert np.abs(found - colour).max() <= 3


def test_an_untagged_high_definition_video_is_taken_as_bt709(tmp_path: Path) -> None:
    path = tmp_path / "rgb.mp4"
    colour = np.array([200, 60, 30], dtype=np.uint8)
    frame = np.broadcast_to(colour, (720, 960, 3)).copy()
    yuv = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
        format="yuv420p", dst_colorspace=1, dst_color_range=1
    )
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt, stream.options = 960, 720, "yuv420p", {"crf": "4"}
        untagged = av.VideoFrame.from_ndarray(yuv.to_ndarray(), format="yuv420p")
        container.mux(stream.encode(untagged))
        container.mux(stream.encode())
    picture = next(iter(Video(path, 1).read(lambda _: True))).rgb()
    assert np.abs(picture[300, 300].astype(int) - colour).max() <= 3


def test_deep_video_keeps_more_than_8_bits(tmp_path: Path) -> None:
    path = tmp_path / "rgb.mov"
    ramp = np.linspace(0.4, 0.6, SIZE[0]) * 65535
    frame = np.broadcast_to(ramp[None, :, None], (SIZE[1], SIZE[0], 3)).astype(np.uint16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("prores_ks", rate=30)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv422p10le"
        container.mux(
            stream.encode(av.VideoFrame.from_ndarray(frame.copy(), format="rgb48le").reformat(format="yuv422p10le"))
        )
        container.mux(stream.encode())
    picture = next(iter(Video(path, 1).read(lambda _: True))).rgb()
    row = picture[60, :, 1].astype(float)
    assert len(np.unique(row)) > 100
    assert np.abs(row - ramp).max() < 65535 / 255 * 0.8


def with_rotation_tag(path: Path, clockwise_deg: int) -> None:
    """Write the display matrix of the video track's header (ISO 14496-12, 8.3.2)."""
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise_deg]
    one = 1 << 16
    matrix = struct.pack(">9i", cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16
    data[at : at + 36] = matrix
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("clockwise_deg", [90, 180, 270])
def test_rotation_tags_are_read_and_the_picture_stays_as_the_sensor_saw_it(clockwise_deg: int, tmp_path: Path) -> None:
    path = tmp_path / "rgb.mp4"
    frame = shades(1)[0]
    frame[:40, :40] = 250
    encode_video(path, [frame], options={"crf": "4"})
    with_rotation_tag(path, clockwise_deg)
    video = Video(path, 1)
    assert video.info.rotation_deg == clockwise_deg
    picture = next(iter(video.read(lambda _: True))).rgb()
    assert picture.shape[:2] == (SIZE[1], SIZE[0])
    assert picture[10, 10, 0] > 200


def test_a_video_cut_off_in_its_data_gives_what_decodes(tmp_path: Path) -> None:
    path = tmp_path / "rgb.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (30, SIZE[1], SIZE[0], 3), dtype=np.uint8)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.options = {"x264-params": "keyint=5:bframes=2", "crf": "20"}
        for array in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(stream.encode())
    whole = [picture.index for picture in Video(path, 2).read(lambda _: True)]
    assert whole == list(range(30))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    video = Video(path, 2)
    found = [picture.index for picture in video.read(lambda _: True)]
    assert 10 <= len(found) < 25
    assert found == sorted(set(found))
    assert video.tally.found == len(found)
    assert video.tally.damaged > 0


def test_a_damaged_frame_shifts_no_other(tmp_path: Path) -> None:
    path = tmp_path / "rgb.mov"
    encode_video(path, shades(12), codec="prores_ks", pixel_format="yuv422p10le")
    data = bytearray(path.read_bytes())
    # Every ProRes frame starts with its size and "icpf"; the fifth loses its header.
    at = -1
    for _ in range(5):
        at = data.index(b"icpf", at + 1)
    data[at : at + 30] = bytes(30)
    path.write_bytes(bytes(data))
    video = Video(path, 2)
    assert numbers(video) == {i: i for i in range(12) if i != 4}
    assert (video.tally.found, video.tally.damaged) == (11, 1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a video" * 100,
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
    ],
)
def test_other_files_are_refused_and_open_nothing(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rgb.mp4"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        Video(path, 1)
    assert caught.value.code is ErrorCode.INVALID_VIDEO


def test_a_video_without_its_index_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rgb.mp4"
    encode_video(path, shades(5))
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(UserError, match="cut off"):
        Video(path, 1)


def images(files: dict[str, bytes]) -> Images:
    buffer = zip_bytes({"odometry.csv": b"x", "camera_matrix.csv": b"x", **files})
    inspection = inspect_archive(buffer)
    rows = {int(Path(name).stem): name for name in inspection.images}
    return Images(zipfile.ZipFile(buffer), inspection, rows)


def exr_bytes(path: Path, rgb: npt.NDArray[np.float16]) -> bytes:
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, {"RGB": rgb}).write(str(path))
    return path.read_bytes()


def test_png_and_jpeg_folders_are_read_in_order() -> None:
    frames = shades(3)
    jpeg = bytes(cv2.imencode(".jpg", frames[1])[1].tobytes())
    source = images({"rgb/000002.png": png(frames[2]), "rgb/000000.png": png(frames[0]), "rgb/000001.jpg": jpeg})
    assert (source.info.kind, source.info.bit_depth, source.info.is_float) == ("images", 8, False)
    assert [(p.index, int(p.rgb()[0, 0, 0])) for p in source.read(lambda _: True)] == [(0, 20), (1, 30), (2, 40)]


def test_16_bit_png_keeps_its_values() -> None:
    frame = np.random.default_rng(0).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    source = images({"rgb/000000.png": png(frame)})
    assert source.info.bit_depth == 16
    np.testing.assert_array_equal(next(iter(source.read(lambda _: True))).rgb(), frame)


def test_exr_is_scene_linear_float_with_highlights(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).uniform(0, 8, (20, 30, 3)).astype(np.float16)
    source = images({"rgb/000000.exr": exr_bytes(tmp_path / "a.exr", frame)})
    assert source.info.is_float
    picture = next(iter(source.read(lambda _: True)))
    np.testing.assert_array_equal(picture.rgb(), frame.astype(np.float32))
    assert picture.grey().dtype == np.uint8


def test_damaged_pictures_are_left_out_and_named() -> None:
    frames = shades(4)
    jpeg = bytes(
        cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8))[1].tobytes()
    )
    source = images(
        {
            "rgb/000000.png": png(frames[0]),
            "rgb/000001.png": png(frames[1])[:-30],
            "rgb/000002.jpg": jpeg[: len(jpeg) // 2],
            "rgb/000003.png": png(frames[3][:50]),
        }
    )
    assert [picture.index for picture in source.read(lambda _: True)] == [0]
    assert source.tally.found == 1
    assert source.tally.damaged_names == ["rgb/000001.png", "rgb/000002.jpg", "rgb/000003.png"]


def test_absurd_sizes_are_refused_before_decoding(tmp_path: Path) -> None:
    huge = bytearray(png(shades(1)[0]))
    struct.pack_into(">II", huge, 16, 60_000, 60_000)
    exr = bytearray(exr_bytes(tmp_path / "a.exr", np.zeros((4, 4, 3), np.float16)))
    at = exr.index(b"dataWindow\0box2i\0") + len(b"dataWindow\0box2i\0") + 4
    struct.pack_into("<iiii", exr, at, 0, 0, 999_999, 999_999)
    for data in (bytes(huge), bytes(exr)):
        with pytest.raises(UserError) as caught:
            pictures.read_picture(data, "rgb/000000")
        assert caught.value.code is ErrorCode.INVALID_IMAGE


def test_jpeg_headers_are_read_as_the_decoder_reads_them() -> None:
    for height, width in ((7, 300), (123, 45)):
        data = bytes(cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1].tobytes())
        header = pictures.read_header(data, "a.jpg")
        assert (header.codec, header.width_px, header.height_px, header.bit_depth) == ("jpeg", width, height, 8)
