"""What pictures a ZIP holds: names, order, what is ignored, and what is refused."""

import stat
import zipfile
from io import BytesIO

import pytest

from contracts.errors import ErrorCode, UserError
from contracts.jobs import JobKind
from contracts.uploads import InspectRequest
from services.ingest.archive import ArchiveLimits
from services.ingest.photos.archive import find_pictures, read_picture_bytes
from services.ingest.photos.step import look_into_photos
from tests.services.ingest.photos.photo_files import zip_of

REQUEST = InspectRequest(kind=JobKind.SCENE, key="uploads/a/upload", etag="e", size_bytes=1)


def names_of(files: dict[str, bytes]) -> list[str]:
    return [picture.name for picture in find_pictures(zip_of(files))]


def refusal(file: BytesIO) -> UserError:
    with pytest.raises(UserError) as caught:
        look_into_photos(file, REQUEST)
    return caught.value


def test_all_seven_types_are_taken_in_the_order_of_their_names() -> None:
    files = dict.fromkeys(["g.webp", "f.BMP", "e.tiff", "d.tif", "c.Png", "b.jpeg", "a.JPG"], b"x")
    assert look_into_photos(zip_of(files), REQUEST) == tuple(sorted(files))


def test_folders_are_kept_but_for_a_top_one_that_all_share() -> None:
    files = {"set/north/1.jpg": b"x", "set/south/1.jpg": b"y", "set/2.jpg": b"z"}
    assert names_of(files) == ["2.jpg", "north/1.jpg", "south/1.jpg"]
    assert names_of({"a/1.jpg": b"x", "b/1.jpg": b"y", "2.jpg": b"z"}) == ["2.jpg", "a/1.jpg", "b/1.jpg"]
    assert names_of({"a/b/1.jpg": b"x", "a/b/2.jpg": b"y"}) == ["b/1.jpg", "b/2.jpg"]
    assert names_of({"a/1.jpg": b"x", "a.jpg/1.jpg": b"y"}) == ["a.jpg/1.jpg", "a/1.jpg"]


def test_the_folder_of_ignored_files_does_not_count() -> None:
    assert names_of({"set/1.jpg": b"x", "readme.txt": b"y", "__MACOSX/set/._1.jpg": b"z"}) == ["1.jpg"]


@pytest.mark.parametrize(
    "name",
    [
        "__MACOSX/a.jpg", "set/__MACOSX/._a.jpg", "._a.jpg", ".hidden.jpg", ".thumbnails/a.jpg", "Thumbs.db", "a.heic",
        "a.jpg.txt", "notes.txt", "a.zip", "jpg", "clip.mp4",
    ],
)  # fmt: skip
def test_what_is_hidden_or_no_picture_is_ignored(name: str) -> None:
    assert names_of({"good.jpg": b"x", name: b"y"}) == ["good.jpg"]


@pytest.mark.parametrize("flag", ["as UTF-8", "without saying so"])
def test_names_of_every_alphabet_are_read(flag: str) -> None:
    name = "Größe/写真 1.jpg"
    file = zip_of({name: b"x"})
    if flag == "without saying so":
        data = bytearray(file.getvalue())
        for magic, at in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
            data[data.index(magic) + at] &= ~0x08
        file = BytesIO(bytes(data))
    (picture,) = find_pictures(file)
    assert picture.name == "写真 1.jpg"
    with zipfile.ZipFile(file) as archive:
        assert read_picture_bytes(archive, picture) == b"x"


def test_names_in_code_page_437_stay() -> None:
    data = zip_of({"cafe.jpg": b"x"}).getvalue().replace(b"cafe", b"caf\x82")
    assert [picture.name for picture in find_pictures(BytesIO(data))] == ["café.jpg"]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_pictures_are_refused_with_what_to_do(count: int) -> None:
    error = refusal(zip_of({"readme.txt": b"x", **{f"{n}.jpg": b"x" for n in range(count)}}))
    assert error.code is (ErrorCode.INVALID_FILE_COUNT if count else ErrorCode.MISSING_FILE)
    assert error.field == "file"
    assert ("1.jpg" if count == 2 else "0.jpg" if count else "readme.txt") in error.message


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04" + bytes(100), bytes(70_000)])
def test_what_is_no_zip_is_refused(data: bytes) -> None:
    assert refusal(BytesIO(data)).code is ErrorCode.INVALID_ARCHIVE


def hostile(name: str, *, link: bool) -> BytesIO:
    file = zip_of({f"{n}.jpg": b"x" for n in range(3)})
    info = zipfile.ZipInfo(name)
    if link:
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(info, b"/etc/passwd")
    file.seek(0)
    return file


@pytest.mark.parametrize("name", ["../evil.jpg", "/etc/evil.jpg", "C:/evil.jpg", "a\\evil.jpg", "a/../../evil.jpg"])
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    assert refusal(hostile(name, link=False)).code is ErrorCode.UNSAFE_ARCHIVE


def test_links_are_refused() -> None:
    assert refusal(hostile("link.jpg", link=True)).code is ErrorCode.UNSAFE_ARCHIVE


def test_bombs_are_refused() -> None:
    zeros = {f"{n}.bmp": b"x" for n in range(3)} | {"bomb.bmp": bytes(33 << 20)}
    assert refusal(zip_of(zeros)).code is ErrorCode.UNSAFE_ARCHIVE
    many = zip_of({f"{n}.jpg": b"x" for n in range(12)})
    with pytest.raises(UserError) as caught:
        find_pictures(many, ArchiveLimits(max_entries=10))
    assert caught.value.code is ErrorCode.UNSAFE_ARCHIVE
