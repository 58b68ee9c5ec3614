"""Pictures as arrays: decoding, identity, and the signal that the stages work on."""

from __future__ import annotations

import hashlib
import io
import warnings
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from anabatch.errors import UnreadableImageError, UnsupportedImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMATS = ("JPEG", "PNG", "TIFF", "BMP")
"""Pillow's names of the formats that are read."""

# Pillow's 16-bit grey modes; everything else that is used decodes to 8 bits a channel.
_SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B"})
_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})

# TIFF's tags of that name, and the value of the second that means "white is zero".
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


def decode(data: bytes, *, max_pixels: int) -> NDArray[Any]:
    """Decode the bytes of one image file with Pillow: all channels, no EXIF rotation.

    Parameters
    ----------
    data : bytes
        The file's content: JPEG, PNG, TIFF or BMP.
    max_pixels : int
        Larger images are refused from their header.

    Returns
    -------
    ndarray, shape (H, W) or (H, W, C), uint8 or uint16
        Bilevel and palette images are expanded; CMYK becomes RGB.

    Raises
    ------
    UnreadableImageError
        The bytes are no image, or a broken one.
    UnsupportedImageError
        The image is too large, or has a sample format that no stage can use.
    """
    if not data:
        what = "the file is empty"
        raise UnreadableImageError(what)
    try:
        with warnings.catch_warnings():
            # What Pillow warns of (odd metadata, a short read) either decodes all the same, or
            # is the error below.
            warnings.simplefilter("ignore")
            with _open(data) as image:
                _refuse_unusable(image, max_pixels)
                return _pixels(image)
    except UnsupportedImageError:
        raise
    except UnidentifiedImageError as error:
        what = "not a JPEG, PNG, TIFF or BMP image"
        raise UnreadableImageError(what) from error
    except Exception as error:
        # Pillow's decoders raise whatever they stumble over in a broken file.
        what = f"broken image: {error or type(error).__name__}"
        raise UnreadableImageError(what) from error


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


def _refuse_unusable(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        what = f"{width} x {height} pixels are more than the limit of {max_pixels}"
        raise UnsupportedImageError(what, "Raise scan.max_pixels if the image is real.")
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


# 65,535 / 255: what one level of 8 bits is in 16 bits.
_STEP = 257


def equalize(image: NDArray[Any], *, clip: float, grid: int) -> NDArray[Any]:
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
    grid : int
        Tiles along each axis.

    Returns
    -------
    ndarray, shape (H, W), the input's dtype
        Multiples of 257 for uint16.
    """
    if image.dtype == np.uint16:
        levels = ((image.astype(np.uint32) + _STEP // 2) // _STEP).astype(np.uint8)
        return equalize(levels, clip=clip, grid=grid).astype(np.uint16) * np.uint16(_STEP)
    equalizer = cv2.createCLAHE(clipLimit=clip, tileGridSize=(grid, grid))
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
