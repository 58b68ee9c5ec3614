"""Decoding, the identity of pictures, the signal, CLAHE."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anabatch.errors import InputError, UnreadableImageError, UnsupportedImageError
from anabatch.imaging import FLAGS, MIN_SIDE, decode, equalize, image_id, signal, to_unit

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
    return (np.arange(18 * 24).reshape(18, 24) % 256).astype(np.uint8)


def grey16():
    return (np.arange(18 * 24).reshape(18, 24) * 151).astype(np.uint16)


def green():
    return np.stack([np.zeros_like(grey8()), grey8(), np.full_like(grey8(), 7)], axis=-1)


def picture_of(data, max_pixels=LIMIT):
    return decode(data, max_pixels=max_pixels).pixels


def saved(pixels, form, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


def tiff(pixels, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def converted(mode, form, **options):
    stream = io.BytesIO()
    Image.fromarray(green()).convert(mode).save(stream, form, **options)
    return stream.getvalue()


def turned(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def with_exif(data, exif):
    """Put EXIF into a JPEG, and leave its picture as it is."""
    block = b"Exif\0\0" + exif
    return data[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:]


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("picture", [grey8, green])
def test_lossless_formats_give_the_pixels_back(form, picture):
    pixels = picture_of(saved(picture(), form))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, picture())


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_survive(order):
    for data in (tiff(grey16(), byteorder=order), saved(grey16(), "PNG")):
        pixels = picture_of(data)
        assert pixels.dtype == np.uint16
        np.testing.assert_array_equal(pixels, grey16())


def test_palette_bilevel_and_cmyk_images_are_expanded():
    palette = Image.fromarray(green()).quantize(16)
    stream = io.BytesIO()
    palette.save(stream, "PNG")
    pixels = picture_of(stream.getvalue())
    np.testing.assert_array_equal(pixels, np.array(palette.convert("RGB")))
    bilevel = picture_of(saved(grey8() > 100, "TIFF"))
    np.testing.assert_array_equal(bilevel, np.where(grey8() > 100, 255, 0))
    stream = io.BytesIO()
    Image.fromarray(green()).convert("CMYK").save(stream, "TIFF")
    assert picture_of(stream.getvalue()).shape == (18, 24, 3)


def test_exif_does_not_turn_the_picture():
    assert picture_of(saved(grey8(), "JPEG", exif=turned(6))).shape == (18, 24)
    plain, other = picture_of(JPEG), picture_of(with_exif(JPEG, turned(6).tobytes()[6:]))
    np.testing.assert_array_equal(plain, other)
    np.testing.assert_array_equal(picture_of(saved(grey8(), "PNG", exif=turned(6))), grey8())


# Pillow's own doing, which every store's identities rest upon.
def test_tiffs_own_orientation_turns_the_picture():
    data = saved(green(), "TIFF", tiffinfo={274: 6})
    np.testing.assert_array_equal(picture_of(data), np.rot90(green(), -1))


ODD = [
    pytest.param(JPEG, [], id="a plain JPEG"),
    pytest.param(saved(grey8(), "PNG"), [], id="grey"),
    pytest.param(saved(grey16(), "PNG"), [], id="16 bits"),
    pytest.param(converted("RGBA", "PNG"), ["alpha_ignored"], id="RGBA"),
    pytest.param(converted("LA", "PNG"), ["alpha_ignored"], id="grey and alpha"),
    pytest.param(converted("P", "PNG"), ["palette_expanded"], id="palette"),
    pytest.param(
        converted("P", "PNG", transparency=3),
        ["alpha_ignored", "palette_expanded"],
        id="palette with a transparent colour",
    ),
    pytest.param(converted("1", "TIFF"), ["bilevel_expanded"], id="1 bit"),
    pytest.param(converted("CMYK", "TIFF"), ["converted_from_cmyk"], id="CMYK TIFF"),
    pytest.param(converted("CMYK", "JPEG"), ["converted_from_cmyk"], id="CMYK JPEG"),
    pytest.param(
        saved(green(), "TIFF", tiffinfo={274: 6}), ["tiff_orientation_applied"], id="turned TIFF"
    ),
    pytest.param(saved(green(), "TIFF", tiffinfo={274: 1}), [], id="TIFF that stands upright"),
    pytest.param(
        with_exif(JPEG, turned(8).tobytes()[6:]), ["exif_orientation_ignored"], id="turned JPEG"
    ),
    pytest.param(
        saved(green(), "PNG", exif=turned(3)), ["exif_orientation_ignored"], id="turned PNG"
    ),
    pytest.param(saved(green(), "PNG", exif=turned(1)), [], id="PNG that stands upright"),
    pytest.param(with_exif(JPEG, b"no TIFF at all"), ["exif_unreadable"], id="broken EXIF"),
    pytest.param(JPEG + b"and more", ["bytes_after_end"], id="JPEG with a tail"),
    pytest.param(JPEG + bytes(5000), ["bytes_after_end"], id="JPEG, then zeros"),
    pytest.param(saved(green(), "PNG") + b"x", ["bytes_after_end"], id="PNG with a tail"),
]


@pytest.mark.parametrize(("data", "flags"), ODD)
def test_what_is_odd_about_a_usable_file_is_said(data, flags):
    assert list(decode(data, max_pixels=LIMIT).flags) == flags
    assert set(flags) <= set(FLAGS)


def test_every_flag_is_given_by_some_file():
    given_by_some = {flag for param in ODD for flag in cast("list[str]", param.values[1])}
    assert given_by_some == set(FLAGS) - {"converted_from_ycbcr"}
    ycbcr = converted("YCbCr", "TIFF")
    assert decode(ycbcr, max_pixels=LIMIT).flags == ("converted_from_ycbcr",)
    assert picture_of(ycbcr).shape == (18, 24, 3)


def test_the_format_is_that_of_the_content():
    for form in ("JPEG", "PNG", "TIFF", "BMP"):
        assert decode(saved(green(), form), max_pixels=LIMIT).format == form


# Golden: a change here gives every image of every store a new identity, and computes it anew.
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(JPEG, "3d7eb995e1e25bcb2da43dda533d12f4", id="JPEG"),
        pytest.param(saved(grey8(), "PNG"), "0ef52c712a38119f7c6ecbf59d9569f0", id="PNG grey"),
        pytest.param(saved(green(), "PNG"), "74910729abcd2ca98ef880614a129849", id="PNG"),
        pytest.param(saved(green(), "BMP"), "74910729abcd2ca98ef880614a129849", id="BMP"),
        pytest.param(saved(green(), "TIFF"), "74910729abcd2ca98ef880614a129849", id="TIFF"),
        pytest.param(tiff(grey16()), "e745a962336b9008e4c3ee48845ff3a7", id="TIFF 16 bit"),
        pytest.param(JPEG + b"and more", "3d7eb995e1e25bcb2da43dda533d12f4", id="JPEG with a tail"),
        pytest.param(converted("RGBA", "PNG"), "dc4ee8a355c6f2ad02c50e0cd65593c8", id="RGBA"),
        pytest.param(
            converted("LA", "PNG"), "9beddcd27c7cff214b9989c198994a97", id="grey and alpha"
        ),
        pytest.param(converted("P", "PNG"), "913eb6aa5d187d46d1a0cb72a5c3403b", id="palette"),
        pytest.param(converted("1", "TIFF"), "9e5d0af76eb3e1044528c892cdfdf24b", id="1 bit"),
        pytest.param(converted("CMYK", "TIFF"), "74910729abcd2ca98ef880614a129849", id="CMYK"),
        pytest.param(converted("YCbCr", "TIFF"), "2a84f940a18f6d2b712bb13bcf56bab8", id="YCbCr"),
        pytest.param(
            saved(green(), "TIFF", tiffinfo={274: 6}),
            "adebd20e7aeb429c03f4f9741000fdfb",
            id="turned",
        ),
    ],
)
def test_golden_image_ids(data, expected):
    assert image_id(picture_of(data)) == expected


def test_the_image_id_is_blake2b_over_shape_dtype_and_pixels():
    expected = hashlib.blake2b(b"(18, 24)|<u2|" + grey16().astype("<u2").tobytes(), digest_size=16)
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
    first, second = (image_id(picture_of(data)) for data in (plain, described))
    assert first == second


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "the file is empty", id="empty"),
        pytest.param(b"LIS export;2021", "not a JPEG, PNG, TIFF or BMP image", id="text"),
        pytest.param(b"GIF89a" + bytes(20), "not a JPEG, .* image: its content is GIF", id="gif"),
        pytest.param(b"%PDF-1.4", "not a JPEG, .* image: its content is PDF", id="pdf"),
        pytest.param(bytes(1000), "the file holds nothing but zeros", id="zeros"),
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
        UnsupportedImageError, match="24 x 18 pixels are more than the limit of 431"
    ):
        decode(saved(grey8(), "PNG"), max_pixels=431)
    assert picture_of(saved(grey8(), "PNG"), max_pixels=432).shape == (18, 24)
    # 200 megapixels, more than Pillow's own limit, in a file without pixels
    bomb = bytearray(saved(grey8(), "BMP"))
    bomb[18:26] = (20_000).to_bytes(4, "little") + (10_000).to_bytes(4, "little")
    with pytest.raises(UnsupportedImageError, match="20000 x 10000 pixels"):
        decode(bytes(bomb), max_pixels=LIMIT)
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode(bytes(bomb), max_pixels=200_000_000)


def test_an_image_that_no_cell_fits_is_refused_with_its_size():
    smallest = np.zeros((MIN_SIDE, MIN_SIDE), np.uint8)
    assert picture_of(saved(smallest, "PNG")).shape == (MIN_SIDE, MIN_SIDE)
    for picture, size in ((smallest[:1, :1], "1 x 1"), (smallest[:-1], "16 x 15")):
        with pytest.raises(UnsupportedImageError, match=f"^{size} pixels are too few, no cell"):
            decode(saved(picture, "PNG"), max_pixels=LIMIT)


def test_a_cameras_multi_picture_jpeg_is_refused_as_any_file_of_several():
    stream = io.BytesIO()
    first, second = Image.fromarray(green()), Image.fromarray(green())
    first.save(stream, "MPO", save_all=True, append_images=[second])
    with pytest.raises(UnsupportedImageError, match="the file holds 2 frames"):
        decode(stream.getvalue(), max_pixels=LIMIT)


def test_too_little_memory_is_not_the_files_fault(monkeypatch):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", exhausted)
    with pytest.raises(MemoryError):
        decode(converted("P", "PNG"), max_pixels=LIMIT)


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
        pixels = picture_of(bytes(data[: max(kept, 8)]))
    except InputError:
        return  # the only errors that a damaged file may give
    assert pixels.dtype in (np.uint8, np.uint16)
    assert pixels.ndim in (2, 3)


def test_the_signal_is_the_green_channel_or_the_first():
    np.testing.assert_array_equal(signal(green()), green()[..., 1])
    with_alpha = np.dstack([green(), np.full((18, 24), 255, np.uint8)])
    np.testing.assert_array_equal(signal(with_alpha), green()[..., 1])
    grey_alpha = np.dstack([grey8(), np.full((18, 24), 255, np.uint8)])
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
