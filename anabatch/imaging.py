"""Pictures as arrays: decoding, identity, and the signal that the stages work on."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from anabatch.errors import InputError, UnreadableImageError, UnsupportedImageError
from anabatch.wholeness import COPY_AGAIN, broken, check_end, invents_its_end

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMATS = ("JPEG", "PNG", "TIFF", "BMP")
"""Pillow's names of the formats that are read."""

MIN_SIDE = 16
"""Pixels. No cell fits an image with a shorter side, and no stage can use it."""

FLAGS = {
    "alpha_ignored": "the image has transparency, which no stage looks at",
    "bilevel_expanded": "the image is black and white (1 bit) and was made grey",
    "bytes_after_end": "the file goes on after the end of the image, and that was not read",
    "converted_from_cmyk": "the image is made for print (CMYK) and was converted to RGB",
    "converted_from_ycbcr": "the image is in YCbCr and was converted to RGB",
    "exif_orientation_ignored": "the file says that the picture should be turned, and it was not",
    "exif_unreadable": "the file's EXIF block is broken; it was not needed",
    "palette_expanded": "the image has a palette and was converted to RGB",
    "tiff_orientation_applied": "the file says that the picture should be turned, and it was",
}
"""What may be odd about a file that is usable all the same, and what was decided about it."""

# Pillow's 16-bit grey modes; everything else that is used decodes to 8 bits a channel.
_SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B"})
_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})

_MODE_FLAGS = {
    "1": {"bilevel_expanded"},
    "LA": {"alpha_ignored"},
    "P": {"palette_expanded"},
    "PA": {"palette_expanded", "alpha_ignored"},
    "RGBA": {"alpha_ignored"},
    "CMYK": {"converted_from_cmyk"},
    "YCbCr": {"converted_from_ycbcr"},
}

# TIFF's tags of that name, and the value of the second that means "white is zero".
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0

# EXIF's and TIFF's tag for how the picture is turned or mirrored, and its values that do so.
_ORIENTATION, _TURNED = 274, range(2, 9)

# How other files begin that are found under the name of an image.
_OTHER_CONTENT = (
    (b"GIF8", "GIF"),
    (b"RIFF", "WebP or AVI"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP or Office"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
)

# Where the JPEG library has no data it leaves all coefficients at zero, and a pixel at 128.
_PADDING, _PADDING_ROUNDING = 128, 1


@dataclass(frozen=True)
class Decoded:
    """One image file's picture.

    Attributes
    ----------
    pixels : ndarray, shape (H, W) or (H, W, C), uint8 or uint16
        As stored, all channels. Bilevel and palette images are expanded; CMYK becomes RGB.
    format : str
        One of :data:`FORMATS`: what the content is, whatever the file's name says.
    flags : tuple of str
        What is odd about the file, names of :data:`FLAGS`, sorted.
    """

    pixels: NDArray[Any]
    format: str
    flags: tuple[str, ...] = ()


def decode(data: bytes, *, max_pixels: int) -> Decoded:
    """Decode the bytes of one image file with Pillow: all channels, 16 bits kept, no EXIF rotation.

    TIFF's own orientation tag is followed, as Pillow does; EXIF's in JPEG and PNG is not.
    A file of several pictures (TIFF pages, animated PNG, a camera's multi-picture JPEG) is refused,
    because nothing says which one is the field.

    Parameters
    ----------
    data : bytes
        The file's content: JPEG, PNG, TIFF or BMP.
    max_pixels : int
        Larger images are refused from their header.

    Returns
    -------
    Decoded

    Raises
    ------
    UnreadableImageError
        The bytes are no image, a broken one, or not all of one.
    UnsupportedImageError
        The image is too large or too small, has several frames, or has a sample format that no
        stage can use.
    """
    if not data:
        what = "the file is empty"
        raise UnreadableImageError(what, COPY_AGAIN)
    try:
        with warnings.catch_warnings():
            # What Pillow warns of (odd metadata, a short read) either decodes all the same, or
            # is the error below.
            warnings.simplefilter("ignore")
            return _decode(data, max_pixels)
    except (InputError, MemoryError):
        # Too little memory says nothing of the file: how much it takes is known from its header.
        raise
    except UnidentifiedImageError as error:
        raise _no_image(data) from error
    except Exception as error:
        # Pillow's decoders raise whatever they stumble over in a broken file.
        raise broken(data, str(error) or type(error).__name__) from error


def _decode(data: bytes, max_pixels: int) -> Decoded:
    with _open(data) as image:
        _refuse_unusable(image, max_pixels)
        form = str(image.format)
        end = check_end(form, data)
        flags = {"bytes_after_end"} if end < len(data) else set()
        # Pillow forgets this tag of TIFF when it loads, and loads when it is asked for EXIF: a
        # broken picture must break here, for what is half loaded is not loaded a second time.
        flags |= _tiff_flags(image)
        image.load()
        flags |= _flags(image)
        suspicious = form == "JPEG" and _may_be_padded(image)
        pixels = _pixels(image)
    if suspicious and invents_its_end(data, end, lambda other: _shows(other, pixels)):
        raise broken(data, "truncated, the data end before the picture does")
    return Decoded(pixels, form, tuple(sorted(flags)))


def _open(data: bytes) -> Image.Image:
    """Open an image by its first bytes.

    `Image.open` does the same, but refuses anything above 179 megapixels, by a limit that is
    global to the process; ours is an argument, and is checked from the header as well.
    """
    Image.init()
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        if accept is not None and accept(data[:16]) is True:
            return factory(io.BytesIO(data), "")
    what = "unknown format"
    raise UnidentifiedImageError(what)


def _no_image(data: bytes) -> UnreadableImageError:
    if not data.strip(b"\0"):
        return UnreadableImageError("the file holds nothing but zeros", COPY_AGAIN)
    content = next((name for start, name in _OTHER_CONTENT if data.startswith(start)), None)
    also = f": its content is {content}" if content else ""
    return UnreadableImageError(f"not a JPEG, PNG, TIFF or BMP image{also}")


def _refuse_unusable(image: Image.Image, max_pixels: int) -> None:
    _refuse_size(image, max_pixels)
    if image.mode not in _EIGHT_BIT_MODES | _SIXTEEN_BIT_MODES:
        what = f"sample format {image.mode!r} is not supported"
        raise UnsupportedImageError(what, "Save the image with 8 or 16 bits a sample.")
    if _inverted(image):
        what = "16-bit grey with white at zero is not supported"
        raise UnsupportedImageError(what, "Save the image with black at zero.")
    if _deep_colour(image):
        what = "colour with more than 8 bits a sample is not supported"
        raise UnsupportedImageError(what, "Save the channel that carries the signal as grey.")
    frames = getattr(image, "n_frames", 1)
    if frames != 1:
        what = f"the file holds {frames} frames"
        raise UnsupportedImageError(what, "Save every frame as a file of its own.")


def _refuse_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        what = f"{width} x {height} pixels are more than the limit of {max_pixels}"
        raise UnsupportedImageError(what, "Raise scan.max_pixels if the image is real.")
    if min(width, height) < MIN_SIDE:
        what = f"{width} x {height} pixels are too few, no cell fits them"
        raise UnsupportedImageError(what, f"An image has at least {MIN_SIDE} pixels a side.")


def _deep_colour(image: Image.Image) -> bool:
    """Tell whether an image has more than 8 bits a sample where Pillow would keep only 8."""
    if image.mode in _SIXTEEN_BIT_MODES:
        return False
    if isinstance(image, TiffImageFile):
        return bool(np.max(image.tag_v2.get(_BITS_PER_SAMPLE, 1)) > 8)
    if isinstance(image, PngImageFile):
        return any(";16" in str(tile.args) for tile in image.tile)
    return False


def _inverted(image: Image.Image) -> bool:
    """Tell whether 16-bit grey has white at zero, which Pillow does not turn round."""
    return (
        image.mode in _SIXTEEN_BIT_MODES
        and isinstance(image, TiffImageFile)
        and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    )


def _pixels(image: Image.Image) -> NDArray[Any]:
    if image.mode in _SIXTEEN_BIT_MODES:
        return np.asarray(image).astype(np.uint16)
    expanded = {"1": "L", "P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"}.get(image.mode)
    return np.array(image.convert(expanded) if expanded else image)


def _tiff_flags(image: Image.Image) -> set[str]:
    if isinstance(image, TiffImageFile) and image.tag_v2.get(_ORIENTATION) in _TURNED:
        return {"tiff_orientation_applied"}
    return set()


def _flags(image: Image.Image) -> set[str]:
    """Return what is odd about a loaded image."""
    flags = set(_MODE_FLAGS.get(image.mode, ()))
    if "transparency" in image.info:
        flags |= {"alpha_ignored"}
    if isinstance(image, TiffImageFile):
        return flags
    try:
        # Pillow has tried this block already when it looked for the resolution, and told nobody.
        Image.Exif().load(image.info.get("exif", b""))
        turned = image.getexif().get(_ORIENTATION) in _TURNED
    except Exception:  # noqa: BLE001 -- whatever its parser stumbles over; no pixel hangs on it
        return flags | {"exif_unreadable"}
    return flags | {"exif_orientation_ignored"} if turned else flags


def _may_be_padded(image: Image.Image) -> bool:
    """Tell whether a JPEG could lack a part of its data: progressive, or grey in its last pixel."""
    if image.info.get("progressive"):
        return True
    width, height = image.size
    corner = image.crop((width - 1, height - 1, width, height))
    last = np.asarray(corner).astype(int)
    return bool(np.all(np.abs(last - _PADDING) <= _PADDING_ROUNDING))


def _shows(data: bytes, pixels: NDArray[Any]) -> bool:
    """Tell whether bytes decode to a picture."""
    try:
        with _open(data) as image:
            return np.array_equal(_pixels(image), pixels)
    except OSError:
        return False


def image_id(pixels: NDArray[Any]) -> str:
    """Return the content identity of a picture.

    Parameters
    ----------
    pixels : ndarray
        As :func:`decode` returns it.

    Returns
    -------
    str
        32 hex digits: BLAKE2b-128 over shape, dtype and pixels. The same picture in another file
        format, or with other metadata, has the same id.
    """
    header = f"{pixels.shape}|{pixels.dtype.newbyteorder('<').str}|".encode()
    little_endian = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    digest = hashlib.blake2b(header, digest_size=16)
    digest.update(little_endian.data)
    return digest.hexdigest()


def signal(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the channel that carries the fluorescence.

    Parameters
    ----------
    pixels : ndarray, shape (H, W) or (H, W, C)

    Returns
    -------
    ndarray, shape (H, W)
        The green channel of RGB and RGBA, else the first (the only one, or grey beside alpha).
    """
    if pixels.ndim == 2:
        return pixels
    return np.ascontiguousarray(pixels[..., 1 if pixels.shape[-1] >= 3 else 0])


BYTE_STEP = 257
"""What one level of 8 bits is in 16 bits: 65,535 / 255."""


def eight_bits(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Bring a picture to 8 bits by its type's range, rounded to the nearest level.

    Parameters
    ----------
    image : ndarray of uint8 or uint16
    """
    if image.dtype == np.uint8:
        return image
    # An odd step has no ties.
    return np.asarray((image.astype(np.uint32) + BYTE_STEP // 2) // BYTE_STEP, np.uint8)


def equalize(image: NDArray[Any], *, clip: float, grid: int | tuple[int, int]) -> NDArray[Any]:
    """Equalise the contrast locally (CLAHE, OpenCV's) in 256 grey levels.

    16-bit pictures are brought to 8 bits by their type's range (rounded to the nearest multiple of
    257) and back, so that a picture and its copy in 16 bits look alike to what comes after. OpenCV's
    own 16-bit CLAHE has a histogram of 65,536 levels, in which the clip limit leaves a picture of few
    levels almost as it was.

    Parameters
    ----------
    image : ndarray, shape (H, W), uint8 or uint16
    clip : float
        Clip limit, in multiples of the uniform histogram's height.
    grid : int or tuple of int
        Tiles along each axis: rows, columns.

    Returns
    -------
    ndarray, shape (H, W), the input's dtype
        Multiples of 257 for uint16.
    """
    if image.dtype == np.uint16:
        levels = equalize(eight_bits(image), clip=clip, grid=grid)
        return levels.astype(np.uint16) * np.uint16(BYTE_STEP)
    rows, columns = (grid, grid) if isinstance(grid, int) else grid
    equalizer = cv2.createCLAHE(clipLimit=clip, tileGridSize=(columns, rows))
    return np.asarray(equalizer.apply(np.ascontiguousarray(image)), dtype=image.dtype)


def to_unit(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return grey levels in [0, 1] by the integer type's range, never by the image's own.

    Parameters
    ----------
    image : ndarray of uint8 or uint16

    Returns
    -------
    ndarray of float32, the input's shape
    """
    return np.asarray(image, dtype=np.float32) / np.float32(np.iinfo(image.dtype).max)
