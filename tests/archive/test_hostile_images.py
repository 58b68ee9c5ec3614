"""Image files as bad as they come: each is quarantined or flagged, in words for a technician."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from anabatch.archive.acquisition import EXTENSION_DIFFERS, acquire
from anabatch.archive.layout import load_layout
from anabatch.archive.listing import ListedFile
from anabatch.archive.walk import is_image
from anabatch.errors import InputError
from anabatch.imaging import FLAGS, decode, image_id
from anabatch.schema import to_table

LAYOUT = load_layout("unlabelled")
LIMIT = 10**6
PAGE = 4096


def field(height=90, width=120, dtype=np.uint8):
    """Draw a dim green field with noise."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:height, :width]
    grey = 60 + 45 * np.sin(x / 9) * np.cos(y / 7) + rng.normal(0, 3, (height, width))
    scale = np.iinfo(dtype).max // 255
    return (grey.clip(1, 250) * scale).astype(dtype)


def green():
    grey = field()
    return np.dstack([grey // 5, grey, grey // 9])


def saved(image, form, **options):
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        stream, form, **options
    )
    return stream.getvalue()


def tiff(pixels, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


WHOLE = {
    "jpg": saved(green(), "JPEG", quality=95),
    "progressive.jpg": saved(green(), "JPEG", quality=95, progressive=True),
    "restarting.jpg": saved(green(), "JPEG", quality=95, restart_marker_blocks=4),
    "png": saved(green(), "PNG"),
    "interlaced.png": saved(Image.fromarray(green()).quantize(64), "PNG", bits=8),
    "tif": saved(green(), "TIFF"),
    "16-bit.tif": tiff(field(dtype=np.uint16)),
    "lzw.tif": saved(green(), "TIFF", compression="tiff_lzw"),
    "deflate.tif": saved(green(), "TIFF", compression="tiff_adobe_deflate"),
    "bmp": saved(green(), "BMP"),
}


def row_of(data, name="a.png", max_pixels=LIMIT):
    file = ListedFile(f"pat_1/{name}", len(data), 0)
    row = acquire(data, "drive", LAYOUT, file, max_pixels=max_pixels)
    to_table("acquisitions", [row])
    assert (row["status"] == "ok") == (row["reason"] is None) == (row["image_id"] is not None)
    assert row["status"] == "ok" or row["flags"] == []
    return row


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_is_used_without_a_word(name):
    row = row_of(WHOLE[name], f"a.{name}")
    assert (row["status"], row["width"], row["height"]) == ("ok", 120, 90)
    assert set(row["flags"]) <= {"palette_expanded"}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_short_anywhere_is_quarantined(name):
    data = WHOLE[name]
    for length in np.linspace(0, len(data) - 1, 100).astype(int):
        row = row_of(data[:length], f"a.{name}")
        assert row["status"] == "quarantined", length
        if length >= 8:
            assert row["reason"].startswith("broken image: "), length
            assert "opy the file again" in row["reason"]


@pytest.mark.parametrize("name", ["jpg", "progressive.jpg", "restarting.jpg"])
def test_a_jpeg_cut_short_and_closed_again_is_never_silently_grey(name):
    """Some programs put the mark of the end behind whatever arrived."""
    data = WHOLE[name]
    start = data.index(b"\xff\xda") + 16
    # Up to the last block: what is missing of that one alone is not noticed.
    coarser = 0
    for length in np.linspace(start, len(data) - 200, 100).astype(int):
        row = row_of(data[:length].rstrip(b"\xff") + b"\xff\xd9", "a.jpg")
        coarser += row["status"] == "ok"
        assert row["reason"] is None or "truncated, the " in row["reason"], length
    # Cut between two of its ten passes, a progressive picture is a coarser one, and nothing tells.
    assert coarser <= (3 if name == "progressive.jpg" else 0)


@pytest.mark.parametrize("name", WHOLE)
def test_damaged_pixels_keep_their_size_or_are_quarantined(name):
    data, rng = WHOLE[name], np.random.default_rng(5)
    # Behind what says how large the picture is: in the formats that have no checksum, a damaged
    # width is a width. (TIFF's directory stands first or last.)
    first, last = (len(data) // 3, len(data) - 400)
    for place in rng.integers(first, last, 100):
        damaged = bytearray(data)
        damaged[place] ^= rng.integers(1, 256)
        row = row_of(bytes(damaged), f"a.{name}")
        if row["status"] == "ok":
            assert (row["width"], row["height"]) == (120, 90)
        if name.endswith("png"):  # its data have a checksum
            assert row["status"] == "quarantined"


@pytest.mark.parametrize("name", WHOLE)
def test_a_damaged_byte_anywhere_breaks_nothing_else(name):
    rng = np.random.default_rng(6)
    for place in rng.integers(0, len(WHOLE[name]), 100):
        damaged = bytearray(WHOLE[name])
        damaged[place] = rng.integers(256)
        row_of(bytes(damaged), f"a.{name}")


def reserved(data, start):
    """Return a file of full length, of which only the first bytes arrived."""
    return data[:start] + bytes(len(data) - start)


@pytest.mark.parametrize("name", ["tif", "16-bit.tif", "bmp"])
@pytest.mark.parametrize("page", [1, 2, 3])
def test_reserved_space_that_was_never_written_is_seen_by_its_page(name, page):
    data = WHOLE[name]
    row = row_of(reserved(data, page * PAGE), f"a.{name}")
    assert f"zeros from byte {page * PAGE} to its end at {len(data)}" in row["reason"]
    assert row["reason"].endswith("The copy did not finish: copy the file again.")


@pytest.mark.parametrize("name", ["jpg", "progressive.jpg", "restarting.jpg", "png", "lzw.tif"])
def test_formats_that_know_their_end_need_no_page(name):
    data = WHOLE[name]
    for start in np.linspace(600, len(data) - 100, 20).astype(int):
        row = row_of(reserved(data, start), f"a.{name}")
        zeros = len(data[:start].rstrip(b"\0"))
        assert f"zeros from byte {zeros} to its end at {len(data)}" in row["reason"]
        assert row["reason"].endswith("copy the file again.")


@pytest.mark.parametrize(
    ("suffix", "dtype"), [("tif", np.uint8), ("tif", np.uint16), ("bmp", np.uint8)]
)
def test_a_picture_may_be_black_where_its_file_ends(suffix, dtype):
    for rows in (40, 41, 60):
        pixels = field(100, 120, dtype)
        pixels[-rows:] = 0
        if suffix == "bmp":
            pixels = pixels[::-1]  # a BMP is stored from its foot up
        form = {"tif": "TIFF", "bmp": "BMP"}[suffix]
        assert row_of(saved(pixels, form), f"a.{suffix}")["status"] == "ok"


def with_thumbnail(data):
    """Put a whole JPEG into the metadata of a JPEG, as cameras do."""
    directory = b"II*\0\x08" + bytes(9)  # an empty one
    thumbnail = b"Exif\0\0" + directory + saved(green()[::3, ::3], "JPEG")
    block = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    return data[:2] + block + data[2:]


def test_a_thumbnails_end_is_not_the_pictures():
    data = with_thumbnail(WHOLE["jpg"])
    row = row_of(data, "a.jpg")
    assert (row["image_id"], row["flags"]) == (row_of(WHOLE["jpg"], "a.jpg")["image_id"], [])
    for length in np.linspace(3000, len(data) - 1, 20).astype(int):
        assert "the mark of its end is missing" in row_of(data[:length], "a.jpg")["reason"]


def test_what_stands_after_the_end_is_flagged_and_changes_nothing():
    for name in ("jpg", "progressive.jpg", "restarting.jpg", "png"):
        plain = row_of(WHOLE[name], f"a.{name}")
        for tail in (b"\0", bytes(2 * PAGE), b"\xff\xd8 half a picture", WHOLE["jpg"]):
            row = row_of(WHOLE[name] + tail, f"a.{name}")
            assert (row["image_id"], row["flags"]) == (plain["image_id"], ["bytes_after_end"])


def test_a_flat_grey_jpeg_is_a_picture_and_no_padding():
    flat = np.full((90, 120, 3), 128, np.uint8)
    for options in ({}, {"progressive": True}, {"restart_marker_blocks": 4}, {"optimize": True}):
        assert row_of(saved(flat, "JPEG", **options), "a.jpg")["status"] == "ok"


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bombs(side=60_000):
    """Return small files whose headers speak of side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)
    bmp = bytearray(WHOLE["bmp"])
    bmp[18:26] = struct.pack("<ii", side, side)
    jpeg = bytearray(WHOLE["jpg"])
    start = jpeg.index(b"\xff\xc0") + 5
    jpeg[start : start + 4] = struct.pack(">HH", side, side)
    tags = [
        (256, 4, side),
        (257, 4, side),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 200),
        (277, 3, 1),
        (278, 4, side),
        (279, 4, 50),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return {
        "png": png + chunk(b"IEND", b""),
        "bmp": bytes(bmp),
        "jpg": bytes(jpeg),
        "tif": b"II*\0" + struct.pack("<I", 8) + directory + bytes(300),
    }


def test_a_bomb_is_quarantined_with_its_size():
    for suffix, data in bombs().items():
        row = row_of(data, f"a.{suffix}", max_pixels=400_000_000)
        assert row["reason"].startswith("60000 x 60000 pixels are more than the limit of 400000000")


# 64 MiB above what the modules take: the smallest of the bombs has 3,600 MB of pixels.
IN_LITTLE_MEMORY = """
import pathlib, resource, sys
from anabatch.errors import UnsupportedImageError
from anabatch.imaging import decode
files = [pathlib.Path(name).read_bytes() for name in sys.argv[1:]]
pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 2**26
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for data in files:
    try:
        decode(data, max_pixels=400_000_000)
    except UnsupportedImageError:
        print("refused")
try:
    decode(files[0], max_pixels=4_000_000_000)
except MemoryError:
    print("too little memory")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its memory by Linux's means")
def test_a_bomb_takes_no_memory(tmp_path):
    names = []
    for suffix, data in bombs().items():
        (tmp_path / f"a.{suffix}").write_bytes(data)
        names.append(str(tmp_path / f"a.{suffix}"))
    done = subprocess.run(  # noqa: S603 (our own words)
        [sys.executable, "-c", IN_LITTLE_MEMORY, *names],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == ["refused"] * 4 + ["too little memory"]


def multi_picture():
    stream = io.BytesIO()
    pages = [Image.fromarray(green()), Image.fromarray(green())]
    pages[0].save(stream, "MPO", save_all=True, append_images=pages[1:])
    return stream.getvalue()


def turned(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


PICTURE = Image.fromarray(green())
COPY = "copy the file again"
QUARANTINED = {
    "empty.jpg": (b"", ["the file is empty", COPY]),
    "zeros.jpg": (bytes(3 * PAGE), ["nothing but zeros", COPY]),
    "text.png": (b"WellPos;ImName\r\n", ["not a JPEG, PNG, TIFF or BMP image"]),
    "document.jpg": (b"%PDF-1.7 ...", ["not a JPEG", "its content is PDF"]),
    "gif.png": (saved(PICTURE, "GIF"), ["not a JPEG", "its content is GIF"]),
    "cut.jpg": (WHOLE["jpg"][:2000], ["truncated", "end is missing", COPY]),
    "cut.png": (WHOLE["png"][:2000], ["truncated", "end is missing", COPY]),
    "cut.tif": (WHOLE["tif"][:2000], ["truncated", "pixels end early", COPY]),
    "cut-lzw.tif": (WHOLE["lzw.tif"][:2000], ["truncated", "directory is missing", COPY]),
    "cut.bmp": (WHOLE["bmp"][:2000], ["truncated", "pixels end early", COPY]),
    "reserved.jpg": (reserved(WHOLE["jpg"], 1500), ["zeros from byte 1500", COPY]),
    "reserved.bmp": (reserved(WHOLE["bmp"], PAGE), ["zeros from byte 4096", COPY]),
    "float.tif": (tiff(field().astype(np.float32)), ["sample format", "8 or 16 bits"]),
    "pages.tif": (
        tiff(np.stack([field()] * 3), photometric="minisblack"),
        ["holds 3 frames", "a file of its own"],
    ),
    "pages.jpg": (multi_picture(), ["holds 2 frames", "a file of its own"]),
    "animated.png": (
        saved(PICTURE, "PNG", save_all=True, append_images=[PICTURE.rotate(90)]),
        ["holds 2 frames", "a file of its own"],
    ),
    "one-pixel.png": (saved(green()[:1, :1], "PNG"), ["1 x 1 pixels are too few", "16 pixels"]),
    "strip.png": (saved(green()[:15], "PNG"), ["120 x 15 pixels are too few"]),
    "bomb.png": (bombs()["png"], ["60000 x 60000 pixels", "limit of 1000000"]),
}
USED = {
    "plain.jpg": (WHOLE["jpg"], []),
    "PLAIN.JPEG": (WHOLE["jpg"], []),
    "16-bit.tiff": (WHOLE["16-bit.tif"], []),
    "16-bit.png": (saved(field(dtype=np.uint16), "PNG"), []),
    "grey.bmp": (saved(field(), "BMP"), []),
    "really-png.jpg": (WHOLE["png"], [EXTENSION_DIFFERS]),
    "really-bmp.tif": (WHOLE["bmp"], [EXTENSION_DIFFERS]),
    "print.jpg": (saved(PICTURE.convert("CMYK"), "JPEG"), ["converted_from_cmyk"]),
    "alpha.png": (saved(PICTURE.convert("RGBA"), "PNG"), ["alpha_ignored"]),
    "turned.jpg": (saved(PICTURE, "JPEG", exif=turned(6)), ["exif_orientation_ignored"]),
    "turned.tif": (saved(PICTURE, "TIFF", tiffinfo={274: 6}), ["tiff_orientation_applied"]),
    "palette.png": (saved(PICTURE.quantize(16), "PNG"), ["palette_expanded"]),
    "all-at-once.jpg": (
        saved(PICTURE.convert("RGBA"), "PNG", exif=turned(3)) + bytes(10),
        ["alpha_ignored", "bytes_after_end", "exif_orientation_ignored", EXTENSION_DIFFERS],
    ),
}


def test_everything_at_once_and_each_file_has_its_word():
    files = {name: data for name, (data, _) in (QUARANTINED | USED).items()}
    rows = {name: row_of(data, name) for name, data in files.items()}
    assert to_table("acquisitions", rows.values()).num_rows == len(files)
    for name, (_, words) in QUARANTINED.items():
        assert rows[name]["status"] == "quarantined", name
        for word in words:
            assert word in rows[name]["reason"], name
    for name, (_, flags) in USED.items():
        assert (rows[name]["status"], rows[name]["flags"]) == ("ok", sorted(flags)), name
        assert set(flags) <= {*FLAGS, EXTENSION_DIFFERS}


def test_16_bits_stay_16_bits():
    expected = field(dtype=np.uint16)
    for name in ("16-bit.tiff", "16-bit.png"):
        row = row_of(USED[name][0], name)
        assert (row["dtype"], row["image_id"]) == ("uint16", image_id(expected))


def test_no_reason_speaks_of_the_program():
    for data, _ in QUARANTINED.values():
        with pytest.raises(InputError) as caught:
            decode(data, max_pixels=LIMIT)
        text = str(caught.value)
        assert not any(word in text for word in ("Error", "Pillow", "PIL", "None", "object", "0x"))


@pytest.mark.real
def test_no_real_image_is_refused_or_odd():
    folder = os.environ.get("ANABATCH_REAL_DATA")
    if not folder:
        pytest.skip("ANABATCH_REAL_DATA names no folder of real images")
    paths = [path for path in Path(folder).rglob("*") if is_image(path.name)]
    rows = [row_of(path.read_bytes(), path.name, max_pixels=10**8) for path in paths]
    assert rows
    assert {(row["status"], tuple(row["flags"])) for row in rows} == {("ok", ())}


@pytest.mark.real
def test_a_real_image_whose_copy_did_not_finish_is_never_used():
    folder = os.environ.get("ANABATCH_REAL_DATA")
    if not folder:
        pytest.skip("ANABATCH_REAL_DATA names no folder of real images")
    for path in sorted(Path(folder).rglob("*.jpg"))[:5]:
        data = path.read_bytes()
        for start in range(PAGE, len(data), max(PAGE, len(data) // 20 // PAGE * PAGE)):
            for copy in (data[:start], reserved(data, start), data[:start] + b"\xff\xd9"):
                row = row_of(copy, path.name, max_pixels=10**8)
                assert row["status"] == "quarantined", (path, start)
                assert row["reason"].endswith("The copy did not finish: copy the file again.")
