"""Whether the bytes of an image file are all there: its end, what stands after it, trailing zeros.

A copy that did not finish leaves one of two things: a file that is cut short, or one of full length
whose end was never written and reads as zeros (the space was reserved first). The second decodes
without a complaint in some formats, and the picture is wrong.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from anabatch.errors import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Callable

COPY_AGAIN = "The copy did not finish: copy the file again."

# What file systems, copying programs and memory hand out: a reserved file's zeros start at one.
_PAGE = 4096

# Fewer zeros than these at the end of a broken file are not worth a word.
_NOTICEABLE = 64

# A marker that is not a restart within the entropy-coded data; 0xFF 0x00 is a byte 0xFF there.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_JPEG_STANDALONE = frozenset({0x01, 0xD8})
_JPEG_END = 0xD9

# Bytes that are no marker, and mean something to every Huffman table; and the same after every
# restart marker, for a decoder that waits for one.
_NOISE = bytes((91 * place + 17) % 251 for place in range(128))
_FILLER = _NOISE + b"".join(bytes([0xFF, 0xD0 + number]) + _NOISE for number in range(8))

_TIFF_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}

_PNG_SIGNATURE_BYTES = 8
# Length, name and checksum of a chunk.
_PNG_CHUNK_BYTES = 12


def check_end(form: str, data: bytes) -> int:
    """Find the end of an image file, and refuse a file without one.

    Parameters
    ----------
    form : str
        `JPEG`, `PNG`, `TIFF` or `BMP`.
    data : bytes
        The file's content.

    Returns
    -------
    int
        Where the image ends. Bytes after it are none of its own. TIFF and BMP have no mark at
        their end: the length of the data.

    Raises
    ------
    UnreadableImageError
        The mark of the end is missing, or a TIFF or BMP ends in zeros that nobody wrote.
    """
    if form in ("TIFF", "BMP"):
        _refuse_reserved(data)
        return len(data)
    end = _jpeg_end(data) if form == "JPEG" else _png_end(data)
    if end is None:
        raise broken(data, "truncated, the mark of its end is missing")
    return end


def broken(data: bytes, why: str) -> UnreadableImageError:
    """Return the error for a file that cannot be decoded.

    Parameters
    ----------
    data : bytes
        The file's content.
    why : str
        What is wrong, or what the decoder says.

    Returns
    -------
    UnreadableImageError
        It names the zeros at the file's end, if there are any, and says what to do.
    """
    why = _plain(data, why)
    zeros = _zeros_from(data)
    if len(data) - zeros >= _NOTICEABLE:
        what = f"broken image: it is zeros from byte {zeros} to its end at {len(data)} ({why})"
        return UnreadableImageError(what, COPY_AGAIN)
    remedy = COPY_AGAIN if "truncated" in why else "Copy the file again."
    return UnreadableImageError(f"broken image: {why}", remedy)


def invents_its_end(data: bytes, end: int, same: Callable[[bytes], bool]) -> bool:
    """Tell whether the picture's data end before the picture does.

    The JPEG library fills what is missing before the mark of the end with grey, or with what an
    earlier pass of a progressive image says, and tells nobody. But where the data suffice, bytes
    put between them and the mark change nothing; where they do not, they are taken for picture.

    Parameters
    ----------
    data : bytes
        A JPEG file.
    end : int
        Where it ends, as :func:`check_end` says.
    same : callable
        Tells whether a file's content decodes, and to the picture that `data` decode to.

    Returns
    -------
    bool
        False too for a progressive image that lacks whole passes: a coarser picture is a picture.
    """
    mark = end - 2
    return not same(data[:mark] + _FILLER + data[mark:end])


def _plain(data: bytes, why: str) -> str:
    """Say in plain words what a decoder says."""
    order = _TIFF_ORDERS.get(data[:4])
    if order and int.from_bytes(data[4:8], order) >= len(data):
        return "truncated, the TIFF's directory is missing"
    if why.startswith("image file is truncated"):
        return "truncated, its pixels end early"
    if why.startswith("decoder error"):
        return "its compressed data are damaged or end early"
    return why


def _zeros_from(data: bytes) -> int:
    """Return where the zeros at the end of data start; its length when there are none."""
    return len(data.rstrip(b"\0"))


def _refuse_reserved(data: bytes) -> None:
    """Refuse uncompressed pixels that end in at least one page of zeros, from a page's start on.

    Pictures may end in black. That this black starts on a page's first byte, and reaches the end of
    the file, has odds of 1 in 4,096 for a picture that ends in 4,096 zero samples, and a camera's
    noise leaves few such pictures (in 8 bits a dim one may; with 16 bits, whose low bytes are never
    still, almost none). A picture of nothing but zeros in a file whose pixels start on a page's
    first byte is refused as well: it cannot be told from a file of which the header alone arrived,
    and has no cells. What is missed: pixels that happened to be zero just before the page.
    """
    zeros = _zeros_from(data)
    if zeros % _PAGE == 0 and len(data) - zeros >= _PAGE:
        raise broken(data, "which is where a copy stops")


def _jpeg_end(data: bytes) -> int | None:
    """Walk a JPEG from marker to marker; a thumbnail's end lies within a segment, and is skipped."""
    position = 2
    while match := _JPEG_MARKER.search(data, position):
        position = match.end()
        marker = data[position - 1]
        if marker == _JPEG_END:
            return position
        if marker not in _JPEG_STANDALONE:
            position += int.from_bytes(data[position : position + 2], "big")
    return None


def _png_end(data: bytes) -> int | None:
    position = _PNG_SIGNATURE_BYTES
    while position + _PNG_CHUNK_BYTES <= len(data):
        name = data[position + 4 : position + 8]
        position += _PNG_CHUNK_BYTES + int.from_bytes(data[position : position + 4], "big")
        if name == b"IEND":
            return position if position <= len(data) else None
    return None
