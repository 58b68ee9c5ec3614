"""What a simulated archive holds, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np

from anabatch.simulate.exports import Dialect, Export, Row, Term

if TYPE_CHECKING:
    from collections.abc import Sequence

LAYOUTS = ("dated", "by-class", "unlabelled")
"""Layouts that can be simulated."""

IMAGES_PER_DATE = 6

ATYPICAL_CLASS = "Cytoplasme/Cyto atypique MDA5"
"""Class folder of images with a share of atypical cells: one that the study found hard to learn."""

# What a physician enters for a serum of these patterns: the codes' names changed over the years, accents came.
_DIAGNOSES: tuple[tuple[tuple[str, ...], tuple[Term, ...]], ...] = (
    (("homogeneous",), (Term(14, "Homogène"),)),
    (("fine speckled",), (Term(15, "Moucheté"),)),
    (("nucleolar",), (Term(16, "Nucléolaire"),)),
    (("centromere",), (Term(10, "Centromère"),)),
    (
        ("fine speckled", "cytoplasmic granular"),
        (Term(15, "Mouchete"), Term(29, "Cytoplasme granuleux")),
    ),
    (("cytoplasmic fibrillar",), (Term(31, "Anti-filament"),)),
    (("nuclear dots",), (Term(11, "Nuclear Dots"), Term(19, "Dots"))),
    (("dense fine speckled",), (Term(44, "DFS70"),)),
    (("homogeneous", "nucleolar"), (Term(14, "Homogene"), Term(16, "Nucleolaire"))),
    (("golgi",), (Term(30, "Anti-Golgi"),)),
    (("cytoplasmic granular",), (Term(29, "Cytoplasme granuleux"), Term(27, "Cyto diffus"))),
    (("nuclear membrane",), (Term(99, "Nuclear Membrane"),)),
    (("coarse speckled",), (Term(15, "Mouchete"), Term(24, "Type SSA"))),
    (("cytoplasmic diffuse",), (Term(27, "Cyto diffus"),)),
    (("cytoplasmic dots",), (Term(28, "Cytoplasme ponctué"),)),
    (("coarse speckled", "nuclear dots"), (Term(17, "Mouchete Dot"),)),
    (("dense fine speckled",), (Term(23, "DFS70"),)),
)

# The same in 2014, in English and with codes that are aliases today.
_OLD_DIAGNOSES: tuple[tuple[tuple[str, ...], tuple[Term, ...]], ...] = (
    (("fine speckled",), (Term(7, "Speckled"),)),
    (("homogeneous",), (Term(6, "Homogeneous"),)),
    (("nucleolar",), (Term(8, "Nucleolar"),)),
    (("coarse speckled", "nucleolar"), (Term(7, "Speckled"), Term(8, "Nucleolar"))),
)

_OLD = Dialect("cp1252", "\r\n", "ScreenPattern")
_DIALECTS = (
    Dialect("utf-8-sig", "\n", "Pattern"),
    Dialect("cp1252", "\r\n", "Pattern"),
    Dialect("utf-8", "\r\n", "Pattern"),
)

# Class folders as the laboratory names them, by group, with the patterns to draw.
_CLASSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Nucleaire/Homogene", ("homogeneous",)),
    ("Nucleaire/Centromere", ("centromere",)),
    ("Mouchete/mouchete fin", ("fine speckled",)),
    ("Nucleole/nucleole fibrillarine", ("nucleolar",)),
    ("Cytoplasme/Cyto granuleux", ("cytoplasmic granular",)),
    ("Controle/Controle Neg", ("negative",)),
    ("Nucleaire/Dot sp100", ("nuclear dots",)),
    ("Mouchete/DFS70", ("dense fine speckled",)),
    ("Cytoplasme/Cyto Fibreux", ("cytoplasmic fibrillar",)),
    ("Cytoplasme/Cyto Golgi", ("golgi",)),
    ("Mouchete/Mou CytoD PL7", ("fine speckled", "cytoplasmic diffuse")),
    ("Mouchete/mouchete RNApol", ("coarse speckled",)),
    ("Cytoplasme/CytoD PL12", ("cytoplasmic diffuse",)),
    ("Cytoplasme/Cyto Ponctue GW", ("cytoplasmic dots",)),
    ("Nucleaire/centromere cytoD", ("centromere", "cytoplasmic diffuse")),
    ("Mouchete/mouchete dot RNP", ("coarse speckled", "nuclear dots")),
)


@dataclass(frozen=True)
class PlannedImage:
    """One image: where it goes, what it shows, whose it is."""

    path: str
    patterns: tuple[str, ...]
    sample: str = ""

    @property
    def status(self) -> str:
        """``negative`` or ``positive``."""
        return "negative" if self.patterns == ("negative",) else "positive"


@dataclass
class Plan:
    """An archive to draw: images, exports, empty folders, other files (path to content)."""

    images: list[PlannedImage] = field(default_factory=list)
    exports: list[Export] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    others: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class _Serum:
    """A patient's sample and what is entered for it; no terms for a negative one."""

    sample: str
    patterns: tuple[str, ...]
    terms: tuple[Term, ...]


def plan_archive(layout: str, images: int, seed: int, *, atypical: bool = False) -> Plan:
    """Plan an archive.

    Parameters
    ----------
    layout : str
        One of :data:`LAYOUTS`.
    images : int
        Number of images, at least 1.
    seed : int
        The same seed gives the same plan.
    atypical : bool
        Whether four of five images are of :data:`ATYPICAL_CLASS`; by-class alone.

    Returns
    -------
    Plan
    """
    if layout == "dated":
        return _plan_dated(images, np.random.default_rng([seed, 1]))
    if layout == "by-class":
        return _plan_by_class(images, atypical=atypical)
    return _plan_unlabelled(images)


def _plan_by_class(images: int, *, atypical: bool) -> Plan:
    """Deal images to classes, the first classes getting more."""
    plan = Plan()
    if atypical:
        many = range(images - images // 5)
        names = [f"{ATYPICAL_CLASS}/{number + 1}.jpg" for number in many]
        plan.images += [PlannedImage(name, ("homogeneous",)) for name in names]
        images //= 5
    for index in range(images):
        folder, patterns = _CLASSES[index % len(_CLASSES)]
        number = index // len(_CLASSES) + 1
        plan.images.append(PlannedImage(f"{folder}/{number}.jpg", patterns))
    return plan


def _plan_unlabelled(images: int) -> Plan:
    """Deal images to folders of four or five, each of one pattern and with an empty folder for masks."""
    plan = Plan()
    folders = max(1, round(images / 4.5))
    for index in range(images):
        number = index % folders
        name = f"pat_{number + 7}"
        path = f"{name}/{name}_{index // folders + 1}.jpg"
        plan.images.append(PlannedImage(path, _CLASSES[number % len(_CLASSES)][1]))
    plan.folders = [f"pat_{number + 7}/masks" for number in range(folders)]
    return plan


def _plan_dated(images: int, rng: np.random.Generator) -> Plan:
    """Plan dates with runs; the first of several dates is years older, by another instrument."""
    plan = Plan()
    dates = max(1, images // IMAGES_PER_DATE)
    shares = [len(part) for part in np.array_split(np.arange(images), dates)]
    first = date(2021, 12, 16) - timedelta(days=2 * (dates - 1))
    order = rng.permutation(len(_DIAGNOSES))
    kept: _Serum | None = None
    dealt = 0
    for number, count in enumerate(shares):
        old = number == 0 and dates > 1
        day = date(2014, 6, 21) if old else first + timedelta(days=2 * number)
        catalogue = _OLD_DIAGNOSES if old else [_DIAGNOSES[i] for i in order]
        sera = _deal_sera(catalogue, day, count, dealt, old=old)
        if kept is not None:  # a patient who is tested again
            sera[0] = kept
        kept = None if old else sera[-1]
        dealt += 0 if old else len(sera)
        _add_date(plan, day, number, sera, old=old)
    plan.folders.append(f"{day + timedelta(days=1):%Y%m%d}")
    plan.others[f"{day:%Y%m%d}/audit.log"] = f"{day} 17:02 export started\r\n".encode()
    plan.others[f"{day:%Y%m%d}/checksums.dat"] = bytes(range(64))
    return plan


def _deal_sera(
    catalogue: Sequence[tuple[tuple[str, ...], tuple[Term, ...]]],
    day: date,
    count: int,
    dealt: int,
    *,
    old: bool,
) -> list[_Serum]:
    """Return one serum an image: every fourth negative, every fifth in two wells."""
    sera: list[_Serum] = []
    turn = dealt
    while len(sera) < count:
        sample = str(len(sera) + 1) if old else f"{day:%y%m%d}5{turn + 1:05d}"
        serum = _Serum(sample, ("negative",), ())
        if turn % 4 != 3:
            serum = _Serum(sample, *catalogue[(turn - turn // 4) % len(catalogue)])
        sera += [serum] * (2 if turn % 5 == 1 else 1)
        turn += 1
    return sera[:count]


def _add_date(plan: Plan, day: date, number: int, sera: list[_Serum], *, old: bool) -> None:
    """Add a date's run with its exports, and sometimes a second run that nobody read."""
    serial, code = ("09001", "0096197") if old else ("08030", f"0ae{987379 + number:08d}")
    runs = [(1, sera)]
    if len(sera) >= IMAGES_PER_DATE - 1 and number % 2 == 1:
        runs = [(1, sera[:-1]), (2, sera[-1:])]
    for run, part in runs:
        folder = f"{day:%Y%m%d}/{run:03d}_SN{serial}"
        wells = []
        for position, serum in enumerate(part):
            index = 33 + position if run == 1 else 1 + position
            well = (position + 9) % 12 + 1
            name = f"{index:03d}_{code}_1_{serum.sample}_3_14_{well:02d}.jpg"
            image = PlannedImage(f"{folder}/{name}", serum.patterns, serum.sample)
            plan.images.append(image)
            wells.append(
                Row(index, serum.sample, "1:80", name, image.path, serum.sample, serum.terms)
            )
        if run == 1:
            plan.exports += _exports(folder, day, number, wells, old=old)


def _exports(folder: str, day: date, number: int, wells: list[Row], *, old: bool) -> list[Export]:
    """Return a run's SCREEN and NEGATIV exports, the dialect and its dirt by the date's number."""
    positive = [row for row in wells if row.terms]
    negative = [row for row in wells if not row.terms]
    kind = 0 if old else 1 + (number - 1) % 3
    _soil(kind, positive, negative, wells[-1].well_index + 1)
    following = day + timedelta(days=1)
    serial = "SN9001" if old else "SN8030"
    dialect = _OLD if old else _DIALECTS[kind - 1]
    files = [
        Export(folder, f"{following:%Y%m%d}_101758", serial, True, dialect, tuple(positive)),  # noqa: FBT003
        Export(folder, f"{following:%Y%m%d}_101800", serial, False, dialect, tuple(negative)),  # noqa: FBT003
    ]
    return [export for export in files if export.rows]


def _soil(kind: int, positive: list[Row], negative: list[Row], free: int) -> None:
    """Add the dirt of real exports, in place; `free` is the first unused well."""
    if kind == 0:
        positive += positive[:1]  # a row exported twice
    if kind == 1:
        negative.append(Row(free, "", "1:80", ".jpg", "", ""))  # a well without an image
        if len(positive) > 2:
            positive[2] = replace(positive[2], terms=())  # read, nothing entered
    if kind == 2:
        gone = f"{free:03d}_0ae00987379_1_absent_3_14_07.jpg"
        negative.append(Row(free, "211200599999", "1:80", gone, "", ""))
        positive.append(
            Row(free + 1, "211200599998", "1:80", ".jpg", "", "", (Term(14, "Homogene"),))
        )
        if len(positive) > 3:
            positive[1] = replace(positive[1], terms=(*positive[1].terms, Term(77, "Inconnu")))
            positive[2] = replace(positive[2], terms=(Term(None, "a revoir"),))
    if kind == 3:
        if len(positive) > 3:
            negative.append(replace(positive[2], terms=()))  # entered as negative as well
            positive[1] = replace(positive[1], sample="211200500000")  # mistyped
        positive += positive[:1]
