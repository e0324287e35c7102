"""Every kind of image file, with pixel values written down by hand, and every way in which a file can be bad."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from PIL import Image, ImageOps

from bagnet.data import decode as module
from bagnet.data.decode import BadImage, decode

FORMATS = ["jpg", "png", "webp", "tif", "gif", "bmp"]
NEEDS_PILLOW_13 = pytest.mark.skipif(int(PIL.__version__.split(".")[0]) < 13, reason="Pillow cannot read what it writes")
_ORIENTATION = 0x0112


def noise(height: int = 40, width: int = 50) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def pixel(source: object, x: int = 0, y: int = 0) -> tuple[int, ...]:
    photo = decode(source)  # type: ignore[arg-type]
    assert photo.image.mode == "RGB"
    value = photo.image.getpixel((x, y))
    assert isinstance(value, tuple)
    return value


def png(width: int, height: int, depth: int, colour: int, rows: bytes, transparency: bytes = b"") -> bytes:
    """A PNG file written by hand, since Pillow cannot write all that it reads."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    clear = chunk(b"tRNS", transparency) if transparency else b""
    return b"\x89PNG\r\n\x1a\n" + header + clear + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes an image, or bytes, as a file of that ending."""

    def write(content: Image.Image | bytes, ending: str, **options: object) -> Path:
        path = tmp_path / f"image.{ending}"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save(path, **options)
        return path

    return write


def refused(source: object, *words: str, error: type[Exception] = BadImage) -> str:
    """That the source is refused on one line with these words; the line."""
    with pytest.raises((BadImage, FileNotFoundError)) as caught:
        decode(source).image  # noqa: B018 # type: ignore[arg-type]
    message = str(caught.value)
    assert caught.type is error
    assert "\n" not in message
    assert message.isprintable()
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize("ending", FORMATS)
def test_formats(save: Callable[..., Path], ending: str) -> None:
    image = Image.new("RGB", (30, 20), (255, 0, 0))
    image.paste((0, 0, 255), (15, 0, 30, 20))
    path = save(image, ending, **({"quality": 95, "subsampling": 0} if ending == "jpg" else {}))
    photo = decode(path)
    assert (photo.image.size, photo.image.mode, photo.orientation, photo.name) == ((30, 20), "RGB", 1, str(path))
    assert pixel(path, 2, 2) == pytest.approx((255, 0, 0), abs=4 if ending in ("jpg", "webp") else 0)
    assert pixel(path, 28, 18) == pytest.approx((0, 0, 255), abs=4 if ending in ("jpg", "webp") else 0)
    assert decode(str(path)).image == decode(os.fsencode(path)).image == photo.image


@pytest.mark.parametrize(
    ("mode", "colour", "ending", "expected"),
    [
        ("1", 1, "png", (255, 255, 255)),
        ("1", 0, "tif", (0, 0, 0)),
        ("L", 100, "png", (100, 100, 100)),
        ("L", 100, "jpg", (100, 100, 100)),
        ("LA", (100, 51), "png", (224, 224, 224)),  # a fifth of 100 over four fifths of white
        ("LA", (100, 0), "tif", (255, 255, 255)),
        ("RGBA", (200, 0, 100, 51), "png", (244, 204, 224)),
        ("RGBA", (200, 0, 100, 255), "webp", None),
        ("RGBA", (9, 9, 9, 0), "tif", (255, 255, 255)),
        ("CMYK", (0, 255, 255, 0), "tif", (255, 0, 0)),
        ("CMYK", (0, 0, 0, 255), "jpg", (0, 0, 0)),
        ("CMYK", (0, 0, 0, 0), "jpg", (255, 255, 255)),
        ("LAB", (255, 128, 128), "tif", (255, 255, 255)),
        ("LAB", (0, 128, 128), "tif", (0, 0, 0)),
        ("YCbCr", (100, 128, 128), "jpg", (100, 100, 100)),
        pytest.param("YCbCr", (100, 128, 128), "tif", (100, 100, 100), marks=NEEDS_PILLOW_13),
        ("I;16", 0x80FF, "png", (128, 128, 128)),
        ("I;16", 0x80FF, "tif", (128, 128, 128)),
        ("I;16B", 0x80FF, "tif", (128, 128, 128)),
        ("I", 0xFFFF, "tif", (255, 255, 255)),
        ("F", 0.2, "tif", (51, 51, 51)),
    ],
)
def test_modes(
    save: Callable[..., Path],
    mode: str,
    colour: float | tuple[int, ...],
    ending: str,
    expected: tuple[int, ...] | None,
) -> None:
    options = {"lossless": True} if ending == "webp" else {}
    path = save(Image.new(mode, (8, 8), colour), ending, **options)
    # LittleCMS, which converts LAB, is one level off in some versions.
    assert pixel(path, 3, 3) == pytest.approx(expected or (200, 0, 100), abs=1 if mode == "LAB" else 0)


@pytest.mark.parametrize("ending", ["png", "gif", "tif", "bmp"])
def test_palette(save: Callable[..., Path], ending: str) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    path = save(image, ending)
    assert (pixel(path, 0), pixel(path, 1)) == ((10, 20, 30), (200, 100, 50))


@pytest.mark.parametrize(
    ("ending", "clear", "expected"),
    [("png", 0, (255, 255, 255)), ("gif", 0, (255, 255, 255)), ("png", bytes([51]), (206, 208, 210))],
)
def test_transparent_palette(save: Callable[..., Path], ending: str, clear: object, expected: tuple[int, ...]) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    path = save(image, ending, transparency=clear)
    assert (pixel(path, 0), pixel(path, 1)) == (expected, (200, 100, 50))


@pytest.mark.parametrize("mode", ["La", "PA", "RGBa", "RGBX", "HSV"])
def test_modes_that_no_file_has(mode: str) -> None:
    assert decode(Image.new(mode, (3, 2))).image.size == (3, 2)
    assert pixel(Image.new("RGBA", (1, 1), (200, 0, 100, 51)).convert("RGBa")) == (244, 204, 224)
    assert pixel(Image.new("LA", (1, 1), (100, 51)).convert("La")) == (224, 224, 224)


def test_sixteen_bit_png(save: Callable[..., Path]) -> None:
    grey = save(png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 0x1234, 0xFEDC)), "png")
    assert (pixel(grey, 0), pixel(grey, 1)) == ((0x12,) * 3, (0xFE,) * 3)
    clear = save(png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 0x1234, 0x1235), struct.pack(">H", 0x1234)), "png")
    assert (pixel(clear, 0), pixel(clear, 1)) == ((255,) * 3, (0x12,) * 3)
    colour = save(png(1, 1, 16, 2, b"\0" + struct.pack(">3H", 0x1234, 0x5678, 0x9ABC)), "png")
    assert pixel(colour) == (0x12, 0x56, 0x9A)
    half = save(png(1, 1, 16, 4, b"\0" + struct.pack(">2H", 0x6400, 0x3333)), "png")
    assert pixel(half) == (224, 224, 224)


@pytest.mark.parametrize(
    "values", [np.uint8([[0, 255]]), np.uint16([[0, 65535]]), np.float32([[0, 1]])], ids=lambda values: str(values.dtype)
)
def test_tiff_where_zero_is_white(tmp_path: Path, values: np.ndarray) -> None:
    """Written by hand, since Pillow inverts what it writes."""
    bits = values.itemsize * 8
    tags = [(256, 2), (257, 1), (258, bits), (259, 1), (262, 0), (273, 8), (277, 1), (278, 1), (279, values.nbytes)]
    tags += [(339, 3)] if values.dtype.kind == "f" else []
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    data = values.astype(values.dtype.newbyteorder("<")).tobytes().ljust(4, b"\0")
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    path = tmp_path / "negative.tif"
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory)
    assert (pixel(path, 0), pixel(path, 1)) == ((255,) * 3, (0,) * 3)


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2)], ids=["colours", "grey with transparency"])
def test_levels_that_pillow_rounds_off_are_refused_where_they_count(save: Callable[..., Path], kind: int, channels: int) -> None:
    path = save(png(1, 1, 16, kind, b"\0" + struct.pack(f">{channels}H", *[0x0123] * channels)), "png")
    assert decode(path).image.size == (1, 1)
    with pytest.raises(BadImage, match="only the upper 8 bits are read; save it in grey alone"):
        decode(path).shown((0, 4095))


def test_unsigned_levels_of_thirty_two_bits(tmp_path: Path) -> None:
    """Pillow takes them for signed."""
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "deep.tif", np.array([[0, 2**31, 2**32 - 1]], np.uint32))
    assert np.asarray(decode(tmp_path / "deep.tif").shown((0, 2**32 - 1)))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("value", [-0.1, 1.5, 255.0, float("inf")])
def test_floating_point_beyond_one_is_refused(save: Callable[..., Path], value: float) -> None:
    path = save(Image.new("F", (2, 2), value), "tif")
    refused(path, f"{path}: floating-point grey levels run from", "bring them to [0, 1]")


def test_what_is_no_number_is_refused(save: Callable[..., Path]) -> None:
    path = save(Image.new("F", (2, 2), float("nan")), "tif")
    refused(path, f"{path}: holds pixels that are no numbers (NaN); give them a level first")


@pytest.mark.parametrize("value", [-1, 65536])
def test_more_than_sixteen_bits_are_refused(save: Callable[..., Path], value: int) -> None:
    path = save(Image.new("I", (2, 2), value), "tif")
    refused(path, f"{path}: grey levels run from {value} to {value}: say which are black and white")


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_kept(save: Callable[..., Path], ending: str, orientation: int) -> None:
    stored = Image.new("RGB", (48, 32), "white")
    stored.paste("red", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    path = save(stored, ending, exif=exif)
    photo = decode(path)
    assert photo.orientation == orientation
    assert photo.image.size == ((48, 32) if orientation < 5 else (32, 48))
    # Where the stored upper left corner goes: literally what the standard says of each orientation.
    right, low = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    x, y = photo.image.width - 4 if right else 3, photo.image.height - 4 if low else 3
    assert pixel(path, x, y) == pytest.approx((255, 0, 0), abs=5)
    assert photo.image.getexif().get(_ORIENTATION, 1) == 1
    with Image.open(path) as opened:
        assert decode(opened).orientation == orientation
        assert decode(opened).name == str(path)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_is_none_is_upright(save: Callable[..., Path], orientation: int) -> None:
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    photo = decode(save(noise(), "jpg", exif=exif))
    assert (photo.orientation, photo.image.size) == (1, (50, 40))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_a_given_picture_is_turned_and_not_modified(mode: str) -> None:
    image = Image.new(mode, (5, 3))
    image.getexif()[_ORIENTATION] = 6
    image.info["note"] = "kept"
    before = (image.mode, image.size, image.tobytes(), dict(image.info), dict(image.getexif()))
    photo = decode(image)
    assert (photo.orientation, photo.image.size, photo.name) == (6, (3, 5), "")
    photo.image.paste((1, 2, 3), (0, 0, 3, 5))
    assert (image.mode, image.size, image.tobytes(), dict(image.info), dict(image.getexif())) == before


@pytest.mark.parametrize("ending", ["gif", "tif", "png", "webp", "mpo"])
def test_the_first_of_several_frames_is_taken(save: Callable[..., Path], ending: str) -> None:
    first, second = Image.new("RGB", (16, 16), (0, 128, 0)), Image.new("RGB", (16, 16), (255, 255, 255))
    path = save(first, ending, save_all=True, append_images=[second])
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == 2
        image.seek(1)
        assert pixel(image.copy()) == pytest.approx((255, 255, 255), abs=3)  # a picture is taken as it stands
    assert pixel(path) == pytest.approx((0, 128, 0), abs=3)


@pytest.mark.parametrize("ending", FORMATS)
def test_one_pixel_is_an_image(save: Callable[..., Path], ending: str) -> None:
    assert pixel(save(Image.new("RGB", (1, 1), (255, 255, 255)), ending)) == (255, 255, 255)


def test_arrays() -> None:
    values = np.random.default_rng(0).integers(0, 256, (4, 5, 4), dtype=np.uint8)
    assert np.array_equal(decode(values[:, :, :3]).image, values[:, :, :3])
    assert np.array_equal(decode(values[::-1, ::2, 2::-1]).image, values[::-1, ::2, 2::-1])
    for grey in (values[:, :, 0], values[:, :, :1]):
        assert np.array_equal(np.asarray(decode(grey).image)[:, :, 1], values[:, :, 0])
    assert pixel(np.uint8([[[200, 0, 100, 51]]])) == (244, 204, 224)
    before = values.copy()
    photo = decode(values)
    photo.image.paste((0, 0, 0), (0, 0, 5, 4))
    assert np.array_equal(values, before)
    assert (photo.orientation, photo.name) == (1, "")


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((4, 4, 3)),
        np.zeros((4, 4), bool),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((2, 8, 8), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
    ],
    ids=lambda values: f"{values.dtype}{values.shape}",
)
def test_other_arrays_are_refused(values: np.ndarray) -> None:
    message = refused(values, "array: must be uint8 of shape (H, W), (H, W, 3) or (H, W, 4)", str(values.shape))
    assert message.endswith("PIL.Image.fromarray(values), a prepared (3, H, W) network input as a torch tensor")


@pytest.mark.parametrize("source", [np.zeros((0, 5, 3), np.uint8), np.zeros((5, 0), np.uint8), Image.new("RGB", (0, 5))])
def test_what_has_no_pixel_is_refused(source: object) -> None:
    refused(source, "pixel", "give an image that has some")


def test_a_missing_file(tmp_path: Path, photograph: Path) -> None:
    for path in (tmp_path / "none.jpg", photograph / "inside.jpg"):
        refused(path, f"{path}: there is no such file; check the path", error=FileNotFoundError)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    refused(tmp_path / "a\0b.jpg", "a\\x00b.jpg: there is no such file", error=FileNotFoundError)
    refused(tmp_path / "a\nb.jpg", "a\\nb.jpg: there is no such file", error=FileNotFoundError)
    refused(tmp_path / ("a" * 300), "aaa: cannot be read (File name too long)")
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    refused(os.fsdecode(name), "caf\\udce9.png: there is no such file", error=FileNotFoundError)
    with Path(os.fsdecode(name)).open("wb") as file:
        noise().save(file, "PNG")
    assert decode(name).image == decode(os.fsdecode(name)).image == noise()


def test_a_folder_and_an_empty_file(tmp_path: Path, save: Callable[..., Path]) -> None:
    refused(tmp_path, f"{tmp_path}: is a folder; name an image file")
    refused(save(b"", "jpg"), "image.jpg: the file is empty; save or copy it again")


def test_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    refused(tmp_path / "loop.jpg", "loop.jpg: cannot be read", "check the path")


def test_pipes_and_devices_are_refused_without_waiting_for_them(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path(os.devnull)):
        # In a process of its own, which can be given up on.
        code = f"from bagnet.data.decode import decode; decode({str(path)!r})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
        assert done.stderr.splitlines()[-1].endswith(f"{path}: is a pipe or a device; save the image to a file first")


def test_a_file_that_may_not_be_read(photograph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", denied)
    refused(photograph, f"{photograph}: may not be read; check its permissions")


@pytest.mark.parametrize("content", [b"hello, this is a text\n" * 20, b"<svg/>", b"\xff\xd8", bytes(100)])
def test_text_renamed(save: Callable[..., Path], content: bytes) -> None:
    path = save(content, "jpg")
    refused(path, f"{path}: ", "save it")


def test_kinds_that_are_not_read(save: Callable[..., Path]) -> None:
    refused(save(noise(), "ppm"), "not an image of a known kind; save it as JPEG, PNG, WebP, TIFF, GIF, BMP or DICOM")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("ending", FORMATS)
def test_a_file_cut_short(save: Callable[..., Path], ending: str, share: float) -> None:
    content = save(noise(), ending).read_bytes()
    path = save(content[: int(len(content) * share)], ending)
    refused(path, f"{path}: ", "save")


@pytest.mark.parametrize("ending", [*FORMATS, "mpo"])
def test_damaged_files_fail_in_no_other_way(save: Callable[..., Path], ending: str) -> None:
    content = np.frombuffer(save(noise(), ending).read_bytes(), np.uint8)
    random = np.random.default_rng(0)
    refusals = []
    for _ in range(60):
        damaged = content.copy()
        where = random.integers(0, min(len(content), 300), 4)  # headers are where the readers trip
        damaged[where] = random.integers(0, 256, 4)
        path = save(damaged.tobytes(), ending)
        try:
            assert decode(path).image.mode == "RGB"
        except BadImage as error:
            refusals.append(str(error))
    assert refusals
    assert all(line.startswith(f"{path}: ") and "\n" not in line for line in refusals)


def test_a_message_that_begins_like_the_name_still_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("F", (1, 1), 9).save("f", "TIFF")
    assert refused("f").startswith("f: floating-point")


def test_the_limit_is_in_pixels(save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 50 * 40)
    path = save(noise(40, 50), "png")
    assert decode(path).image.size == (50, 40)
    monkeypatch.setattr(module, "LARGEST", 50 * 40 - 1)
    refused(
        path,
        f"{path}: 50 x 40 pixels is more than the 1,999 that are read in one piece; scale it down first, "
        "or make it a tiled TIFF for bagnet slide",
    )
    refused(noise(40, 50), "image: 50 x 40 pixels is more than")
    refused(np.asarray(noise(40, 50)), "array: 50 x 40 pixels is more than")


@pytest.mark.parametrize("limit", [Image.MAX_IMAGE_PIXELS, None], ids=["Pillow's limit", "none"])
@pytest.mark.parametrize("side", [14_000, 15_000, 60_000])  # within Pillow's tolerance and beyond it
def test_a_decompression_bomb(save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, side: int, limit: int | None) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    path = save(png(side, side, 8, 2, b"\0" * 1000), "png")
    refused(path, f"{path}: ", "more than the 178,956,970", "scale it down first")


def test_it_agrees_with_pillow_on_a_photograph(photograph: Path) -> None:
    with Image.open(photograph) as image:
        assert decode(photograph).image == ImageOps.exif_transpose(image).convert("RGB")


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_all_forms_of_one_image_are_one_image(tmp_path: Path, pixels: np.ndarray) -> None:
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    forms: list[object] = [
        tmp_path / "a.png", str(tmp_path / "a.png"), os.fsencode(tmp_path / "a.png"), content, bytearray(content),
        memoryview(content), io.BytesIO(content), picture, pixels, pixels.transpose(2, 0, 1),
        torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(pixels).permute(2, 0, 1)[None],
    ]  # fmt: skip
    for form in forms:
        assert np.array_equal(np.asarray(decode(form).image), pixels), type(form)  # type: ignore[arg-type]
    with (tmp_path / "a.png").open("rb") as file:
        photo = decode(file)
        assert np.array_equal(np.asarray(photo.image), pixels)
        assert photo.name == str(tmp_path / "a.png")
        assert file.tell() == 0


def test_grey_and_transparent_tensors(pixels: np.ndarray) -> None:
    grey = decode(torch.from_numpy(pixels[None, :, :, 0].copy())).image
    assert np.array_equal(np.asarray(grey), pixels[:, :, :1].repeat(3, 2))
    clear = np.concatenate([pixels, np.zeros((5, 7, 1), np.uint8)], 2)
    assert np.asarray(decode(torch.from_numpy(clear).permute(2, 0, 1)).image).min() == 255


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (b"", "there are no bytes"),
        (b"\x00" * 2_000_000, "not an image of a known kind"),
        (b"no such file", "not an image of a known kind"),
        (io.StringIO("text"), "opened as text"),
        (torch.zeros(3, 5, 5), "an image as a tensor must be uint8"),
        (torch.zeros(2, 3, 5, 5, dtype=torch.uint8), "an image as a tensor must be uint8"),
        (np.zeros((5, 5, 3)), "must be uint8"),
        (3, "a int is no image"),
    ],
)
def test_forms_that_say_too_little_are_refused_in_a_line(form: object, reason: str) -> None:
    with pytest.raises(BadImage, match=reason) as refused:
        decode(form)  # type: ignore[arg-type]
    assert len(str(refused.value)) < 400


def test_a_very_long_name_is_shortened_in_messages() -> None:
    with pytest.raises((FileNotFoundError, BadImage)) as refused:
        decode("a" * 100_000)
    assert len(str(refused.value)) < 400
