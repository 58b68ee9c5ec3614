"""Decoding, the identity of pictures, the signal, CLAHE."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anabatch.errors import InputError, UnreadableImageError, UnsupportedImageError
from anabatch.imaging import decode, equalize, image_id, signal, to_unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIMIT = 10**6

# A green field of 32 x 24 pixels, as libjpeg wrote it: the decoder alone decides on its pixels.
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZG"
    "NywtQFdBRkxOUlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09P"
    "T09PT09PT09PT09PT09PT09PT09PT09PT0//wAARCAAYACADASIAAhEBAxEB/8QAGQABAAMBAQAAAAAAAAAAAAAA"
    "AAIDBQEE/8QAHBAAAQUBAQEAAAAAAAAAAAAAAgABAwQREiET/8QAFwEAAwEAAAAAAAAAAAAAAAAAAwQFAv/EAB0R"
    "AAICAwADAAAAAAAAAAAAAAASARECExQhIkH/2gAMAwEAAhEDEQA/AMivaGJsd1Ke2Mo4zrEumYk/OqFSQyNutUnn"
    "ifYh8sTDl9iqUpazJXqFEWuy26cYEDdLtyMBB+cWOibUH1TaHhGl9/cQqDQ+4iIezJqB7cmW/BSV14PNQb3381ET"
    "WvFbHNWCt9P/2Q=="
)


def grey8():
    return (np.arange(12 * 16).reshape(12, 16) % 256).astype(np.uint8)


def grey16():
    return (np.arange(12 * 16).reshape(12, 16) * 331).astype(np.uint16)


def green():
    return np.stack([np.zeros_like(grey8()), grey8(), np.full_like(grey8(), 7)], axis=-1)


def saved(pixels, form, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


def tiff(pixels, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("picture", [grey8, green])
def test_lossless_formats_give_the_pixels_back(form, picture):
    pixels = decode(saved(picture(), form), max_pixels=LIMIT)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, picture())


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_survive(order):
    for data in (tiff(grey16(), byteorder=order), saved(grey16(), "PNG")):
        pixels = decode(data, max_pixels=LIMIT)
        assert pixels.dtype == np.uint16
        np.testing.assert_array_equal(pixels, grey16())


def test_palette_bilevel_and_cmyk_images_are_expanded():
    palette = Image.fromarray(green()).quantize(16)
    stream = io.BytesIO()
    palette.save(stream, "PNG")
    pixels = decode(stream.getvalue(), max_pixels=LIMIT)
    np.testing.assert_array_equal(pixels, np.array(palette.convert("RGB")))
    bilevel = decode(saved(grey8() > 100, "TIFF"), max_pixels=LIMIT)
    np.testing.assert_array_equal(bilevel, np.where(grey8() > 100, 255, 0))
    stream = io.BytesIO()
    Image.fromarray(green()).convert("CMYK").save(stream, "TIFF")
    assert decode(stream.getvalue(), max_pixels=LIMIT).shape == (12, 16, 3)


def test_exif_does_not_turn_the_picture():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert decode(saved(grey8(), "JPEG", exif=exif), max_pixels=LIMIT).shape == (12, 16)


# Golden: a change here gives every image of every store a new identity, and computes it anew.
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(JPEG, "3d7eb995e1e25bcb2da43dda533d12f4", id="JPEG"),
        pytest.param(saved(grey8(), "PNG"), "c91bed10d58ee5dc0baeb022d4ba5cf4", id="PNG grey"),
        pytest.param(saved(green(), "PNG"), "95376a599cf2eca0398be6846dd28423", id="PNG"),
        pytest.param(saved(green(), "BMP"), "95376a599cf2eca0398be6846dd28423", id="BMP"),
        pytest.param(saved(green(), "TIFF"), "95376a599cf2eca0398be6846dd28423", id="TIFF"),
        pytest.param(tiff(grey16()), "fa998fd9830095d9e18c15669c806ae2", id="TIFF 16 bit"),
    ],
)
def test_golden_image_ids(data, expected):
    assert image_id(decode(data, max_pixels=LIMIT)) == expected


def test_the_image_id_is_blake2b_over_shape_dtype_and_pixels():
    expected = hashlib.blake2b(b"(12, 16)|<u2|" + grey16().astype("<u2").tobytes(), digest_size=16)
    assert image_id(grey16()) == expected.hexdigest()
    assert image_id(grey16().astype(">u2")) == expected.hexdigest()
    assert image_id(np.asfortranarray(grey16())) == expected.hexdigest()


def test_any_difference_of_shape_type_or_pixel_is_another_image():
    flat = np.zeros((4, 6), np.uint8)
    other = flat.copy()
    other[3, 5] = 1
    pictures: list[NDArray[Any]] = [
        flat,
        other,
        flat.reshape(6, 4),
        flat.reshape(4, 6, 1),
        flat.astype(np.uint16),
    ]
    assert len({image_id(picture) for picture in pictures}) == len(pictures)


def test_metadata_does_not_change_the_identity():
    exif = Image.Exif()
    exif[0x010E] = "another description"
    plain, described = saved(green(), "PNG"), saved(green(), "PNG", exif=exif, dpi=(300, 300))
    assert plain != described
    first, second = (image_id(decode(data, max_pixels=LIMIT)) for data in (plain, described))
    assert first == second


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "the file is empty", id="empty"),
        pytest.param(b"LIS export;2021", "not a JPEG, PNG, TIFF or BMP image", id="text"),
        pytest.param(b"GIF89a" + bytes(20), "not a JPEG, PNG, TIFF or BMP image", id="gif"),
        pytest.param(bytes(1000), "not a JPEG, PNG, TIFF or BMP image", id="zeros"),
        pytest.param(JPEG[:360], "broken image: .*truncated", id="half a JPEG"),
        pytest.param(saved(grey8(), "PNG")[:50], "broken image", id="half a PNG"),
        pytest.param(tiff(grey16())[:300], "broken image", id="half a TIFF"),
        pytest.param(saved(green(), "BMP")[:200], "broken image", id="half a BMP"),
        pytest.param(b"\xff\xd8\xff", "broken image", id="a JPEG's first bytes"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "broken image", id="a PNG's first bytes"),
    ],
)
def test_broken_files_are_unreadable_for_a_named_reason(data, message):
    with pytest.raises(UnreadableImageError, match=message):
        decode(data, max_pixels=LIMIT)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(tiff(grey16().astype(np.float32)), "sample format 'F'", id="float"),
        pytest.param(tiff(grey16().astype(np.int32)), "sample format 'I'", id="32 bits"),
        pytest.param(tiff(np.stack([grey8()] * 2)), "holds 2 frames", id="frames"),
        pytest.param(
            cv2.imencode(".png", np.stack([grey16()] * 3, axis=-1))[1].tobytes(),
            "more than 8 bits a sample",
            id="PNG deep colour",
        ),
        pytest.param(
            tiff(np.stack([grey16()] * 3), photometric="rgb", planarconfig="separate"),
            "more than 8 bits a sample",
            id="TIFF deep colour in planes",
        ),
        pytest.param(
            tiff(np.stack([grey16()] * 3, axis=-1), photometric="rgb"),
            "more than 8 bits a sample",
            id="TIFF deep colour",
        ),
        pytest.param(tiff(grey16(), photometric="miniswhite"), "white at zero", id="inverted"),
    ],
)
def test_what_would_decode_to_wrong_numbers_is_unsupported(data, message):
    with pytest.raises(UnsupportedImageError, match=message):
        decode(data, max_pixels=LIMIT)


def test_large_images_are_refused_from_the_header_and_only_by_the_argument():
    with pytest.raises(
        UnsupportedImageError, match="16 x 12 pixels are more than the limit of 191"
    ):
        decode(saved(grey8(), "PNG"), max_pixels=191)
    assert decode(saved(grey8(), "PNG"), max_pixels=192).shape == (12, 16)
    # 200 megapixels, more than Pillow's own limit, in a file without pixels
    bomb = bytearray(saved(grey8(), "BMP"))
    bomb[18:26] = (20_000).to_bytes(4, "little") + (10_000).to_bytes(4, "little")
    with pytest.raises(UnsupportedImageError, match="20000 x 10000 pixels"):
        decode(bytes(bomb), max_pixels=LIMIT)
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode(bytes(bomb), max_pixels=200_000_000)


SEEDS = (JPEG, saved(green(), "PNG"), tiff(grey16()), saved(green(), "BMP"), tiff(green()))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=4)), max_size=4),
    st.integers(0, 2000),
)
def test_a_damaged_file_decodes_or_is_an_input_error(seed, damage, kept):
    data = bytearray(seed)
    for place, patch in damage:
        data[place % len(data) : place % len(data) + len(patch)] = patch
    try:
        pixels = decode(bytes(data[: max(kept, 8)]), max_pixels=LIMIT)
    except InputError:
        return  # the only errors that a damaged file may give
    assert pixels.dtype in (np.uint8, np.uint16)
    assert pixels.ndim in (2, 3)


def test_the_signal_is_the_green_channel_or_the_first():
    np.testing.assert_array_equal(signal(green()), green()[..., 1])
    with_alpha = np.dstack([green(), np.full((12, 16), 255, np.uint8)])
    np.testing.assert_array_equal(signal(with_alpha), green()[..., 1])
    grey_alpha = np.dstack([grey8(), np.full((12, 16), 255, np.uint8)])
    np.testing.assert_array_equal(signal(grey_alpha), grey8())
    assert signal(grey16()) is not None
    np.testing.assert_array_equal(signal(grey16()), grey16())
    assert signal(green()).flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_equalizing_spreads_a_dim_picture_and_keeps_its_type(dtype):
    level = np.iinfo(dtype).max // 255
    ramp = (np.tile(np.arange(64), (64, 1)) * level).astype(dtype)
    result = equalize(ramp, clip=10.0, grid=2)
    assert result.dtype == dtype
    assert result.shape == ramp.shape
    assert np.ptp(result.astype(int)) > 2 * np.ptp(ramp.astype(int))


def dim_picture():
    rng = np.random.default_rng(0)
    spots = cv2.GaussianBlur(rng.random((208, 278)), (0, 0), 8)
    return (20 + 60 * (spots - spots.min()) / np.ptp(spots)).astype(np.uint8)


def test_a_picture_and_its_copy_in_16_bits_are_equalised_alike():
    picture = dim_picture()
    copy = picture.astype(np.uint16) * 257
    eight, sixteen = (equalize(image, clip=10.0, grid=8) for image in (picture, copy))
    np.testing.assert_array_equal(sixteen, eight.astype(np.uint16) * 257)
    np.testing.assert_array_equal(to_unit(sixteen), to_unit(eight))
    assert np.ptp(eight.astype(int)) > 2 * np.ptp(picture.astype(int))


@pytest.mark.parametrize("shape", [(139, 104), (170, 131)])
def test_they_are_so_also_when_both_were_shrunk(shape):
    picture = dim_picture()
    copy = picture.astype(np.uint16) * 257
    eight, sixteen = (
        equalize(cv2.resize(image, shape, interpolation=cv2.INTER_AREA), clip=10.0, grid=8)
        for image in (picture, copy)
    )
    np.testing.assert_array_equal(sixteen, eight.astype(np.uint16) * 257)


def test_unit_levels_follow_the_type_not_the_picture():
    np.testing.assert_array_equal(
        to_unit(np.array([[0, 51]], np.uint8)), np.array([[0, 0.2]], np.float32)
    )
    np.testing.assert_array_equal(
        to_unit(np.array([[65535]], np.uint16)), np.array([[1]], np.float32)
    )
    assert to_unit(grey16()).dtype == np.float32
