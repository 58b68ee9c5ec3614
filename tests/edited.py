"""An archive of tiny images, changed as a laboratory, a network drive or a mistake changes one."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from cheap import draw_tiny

_SIZE = 16_384  # bytes of every picture, so that no edit in place shows in the file's size
_FAR = 1_500_000_000_000_000_000  # some time in 2017, in nanoseconds
_START = 2  # bytes of a JPEG's first marker


@cache
def picture(seed: int) -> bytes:
    """Return a tiny image; all are files of one size, and another seed is another picture."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "picture.jpg")
        draw_tiny(path, seed, cells=1 + seed % 7)
        data = path.read_bytes()
    return with_comment(data, " " * (_SIZE - len(data) - 4))


def with_comment(data: bytes, text: str) -> bytes:
    """Put a comment into a JPEG: other bytes, the same pixels."""
    body = text.encode()
    segment = b"\xff\xfe" + (len(body) + 2).to_bytes(2, "big") + body
    return data[:_START] + segment + data[_START:]


BROKEN = {
    "empty": b"",
    "text": b"this is no image",
    "cut short": picture(0)[: _SIZE // 2],
}
"""Contents of files that are no images."""


def image_name(number: int) -> str:
    """Return an image's name as the microscope gives it, with a sample of its own."""
    return f"{number:03d}_0ae00987379_1_2025244{number:02d}_3_14_05.jpg"


def export_text(rows: list[tuple[str, str]], column: str) -> str:
    """Return an export's text of pairs of image name and last column."""
    lines = ["LIS export", f"WellPos;SampleId;Dilution;ImName;{column}"]
    for position, (name, value) in enumerate(rows, 1):
        sample = name.split("_")[3] if name.count("_") > 3 else ""
        lines.append(f"{position};{sample};1:80;D:\\Data\\{name};{value}")
    return "".join(f"{line}\r\n" for line in lines)


class EditedArchive:
    """A dated archive.

    Parameters
    ----------
    root : Path
        Its folder, which is made.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()

    def images(self) -> list[Path]:
        """Return all files that are named as images."""
        return sorted(self.root.rglob("*.jpg"))

    def exports(self) -> list[Path]:
        """Return all files that are named as exports."""
        return sorted(self.root.rglob("*.csv"))

    def image(self, date: str, number: int) -> Path:
        """Return where an image of a date lies or would lie."""
        return self.root / date / "001_SN09001" / image_name(number)

    def put(self, path: Path, data: bytes) -> None:
        """Write a file, new or in place of what it was."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def put_secretly(self, path: Path, data: bytes) -> None:
        """Write a file in place, and set its time back."""
        before = path.stat()
        path.write_bytes(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def touch(self, path: Path) -> None:
        """Give a file another time, and leave its bytes."""
        os.utime(path, ns=(_FAR, _FAR))

    def rename(self, path: Path, other: Path) -> None:
        """Move a file, over whatever was there."""
        other.parent.mkdir(parents=True, exist_ok=True)
        path.replace(other)

    def remove_date(self, date: str) -> None:
        """Remove all of a date."""
        shutil.rmtree(self.root / date, ignore_errors=True)

    def put_export(self, date: str, hour: int, kind: str, rows: list[tuple[int, str]]) -> None:
        """Write an export of rows, each an image's number and its patterns.

        Parameters
        ----------
        date : str
        hour : int
            Another hour is another, later export of the same run.
        kind : {'SCREEN', 'NEGATIV'}
        rows : list of (int, str)
        """
        last = "Pattern" if kind == "SCREEN" else "Result"
        named = [
            (image_name(number), text if last == "Pattern" else "NEG") for number, text in rows
        ]
        name = f"exp_pl_LIS_{date}_{hour:02d}1758_SN9001_{kind}.csv"
        self.put(self.root / date / "001_SN09001" / name, export_text(named, last).encode("cp1252"))
