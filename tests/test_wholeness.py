"""Where an image file ends, and whether what it says is there."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anabatch.errors import UnreadableImageError
from anabatch.wholeness import broken, check_end, invents_its_end

PAGE = 4096


def saved(form, **options):
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 48), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


JPEG, PNG = saved("JPEG"), saved("PNG")


def shows(pixels, picture):
    """Return whether some bytes still give a picture, as a function of the bytes."""
    return lambda data: np.array_equal(pixels(data), picture)


@pytest.mark.parametrize(("form", "data"), [("JPEG", JPEG), ("PNG", PNG)])
@given(tail=st.binary(max_size=50))
def test_the_end_is_found_whatever_stands_behind(form, data, tail):
    assert check_end(form, data + tail) == len(data)


@pytest.mark.parametrize(("form", "data"), [("JPEG", JPEG), ("PNG", PNG)])
@given(share=st.floats(0, 1, exclude_max=True))
def test_without_its_last_byte_a_file_has_no_end(form, data, share):
    with pytest.raises(UnreadableImageError, match="the mark of its end is missing"):
        check_end(form, data[: int(len(data) * share)])


@given(st.binary(max_size=300))
def test_any_bytes_end_or_do_not(data):
    for form, start in (("JPEG", b"\xff\xd8"), ("PNG", b"\x89PNG\r\n\x1a\n")):
        with contextlib.suppress(UnreadableImageError):
            assert 0 < check_end(form, start + data) <= len(start + data)


def test_fill_bytes_and_lone_markers_before_the_end_are_stepped_over():
    for between in (b"\xff\xff\xff", b"\xff\x01", b"\x00\x00", b"\xff\xd3"):
        data = JPEG[:-2] + between + JPEG[-2:]
        assert check_end("JPEG", data) == len(data)


@pytest.mark.parametrize("form", ["TIFF", "BMP"])
@pytest.mark.parametrize(
    ("start", "zeros", "refused"),
    [
        (PAGE, PAGE, True),
        (3 * PAGE, PAGE + 7, True),
        (3 * PAGE, PAGE - 1, False),
        (3 * PAGE - 1, PAGE, False),
        (3 * PAGE + 1, 5 * PAGE, False),
        (3 * PAGE, 0, False),
    ],
)
def test_zeros_from_a_pages_start_are_reserved_space(form, start, zeros, refused):
    data = b"\1" * start + bytes(zeros)
    if refused:
        with pytest.raises(UnreadableImageError, match=f"zeros from byte {start} to its end"):
            check_end(form, data)
    else:
        assert check_end(form, data) == len(data)


def test_a_broken_file_names_its_zeros_and_its_remedy():
    assert str(broken(b"x" * 100 + bytes(100), "no palette")) == (
        "broken image: it is zeros from byte 100 to its end at 200 (no palette). The copy did not "
        "finish: copy the file again."
    )
    assert str(broken(b"x" * 100 + bytes(10), "no palette")) == (
        "broken image: no palette. Copy the file again."
    )


@pytest.mark.parametrize(
    ("data", "said", "plain"),
    [
        (b"x", "image file is truncated (3 bytes not processed)", "its pixels end early"),
        (b"x", "decoder error -2", "its compressed data are damaged or end early"),
        (b"II*\0\x08\0\0\0", "Missing dimensions", "truncated, the TIFF's directory is missing"),
        (b"MM\0*\0\0\0\x08", "Missing dimensions", "truncated, the TIFF's directory is missing"),
        (b"II*\0\x08\0\0\0x", "Missing dimensions", "Missing dimensions"),
    ],
)
def test_what_decoders_say_is_put_in_plain_words(data, said, plain):
    assert plain in broken(data, said).what


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 3}]
)
def test_a_jpegs_missing_data_are_told_by_what_fills_them(options):
    def pixels(data):
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image)

    whole = saved("JPEG", **options)
    cut = whole[: len(whole) * 9 // 10].rstrip(b"\xff") + b"\xff\xd9"
    for data, invented in ((whole, False), (cut, True)):
        assert invents_its_end(data, len(data), shows(pixels, pixels(data))) is invented


@pytest.mark.parametrize("marker", range(8))
def test_a_jpeg_cut_at_a_restart_marker_is_told_too(marker):
    def pixels(data):
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image)

    whole = saved("JPEG", restart_marker_blocks=3)
    place = whole.index(bytes([0xFF, 0xD0 + marker]))
    for data in (whole[:place], whole[:place] + bytes(400)):
        cut = data + b"\xff\xd9"
        assert invents_its_end(cut, len(cut), shows(pixels, pixels(cut)))
