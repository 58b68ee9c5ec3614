"""The options of `anabatch cluster`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer


class Method(StrEnum):
    """How clusters are fitted."""

    kmeans = "kmeans"
    lloyd = "lloyd"
    mixture = "mixture"


ModelNameOption = Annotated[
    str | None, typer.Option("--name", help="Cluster a part of the archive, under this name.")
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        "--where",
        help="With --name: which cells, in SQL over cells and their acquisitions; labels is the list "
        "of the image's labels, and label = 'x' holds if x is one of them, also beside AND; without x: "
        "NOT list_contains(labels, 'x').",
    ),
]
KOption = Annotated[int | None, typer.Option("--k", min=2, help="With --name: how many clusters.")]
MethodOption = Annotated[
    Method | None, typer.Option("--method", help="With --name: how they are fitted.")
]
ChooseOption = Annotated[
    str | None,
    typer.Option(
        "--choose-k",
        help="Try a range of k, as 2..12, and tell what speaks for each. With --name, and without "
        "--k, the clusters are as many as it suggests.",
    ),
]
AddOption = Annotated[
    bool,
    typer.Option("--add-new", help="Make a cluster of the new kind of cells that is proposed."),
]
RemoveOption = Annotated[
    bool,
    typer.Option(
        "--remove", help="With --name: take these clusters out of the store's next version."
    ),
]


@dataclass(frozen=True)
class Asked:
    """The command's options as they were given."""

    name: str | None = None
    where: str | None = None
    k: int | None = None
    method: str | None = None
    choose_k: str | None = None
    refit: bool = False
    add_new: bool = False
    remove: bool = False


def check(asked: Asked) -> None:
    """Refuse options that do not go together.

    Raises
    ------
    typer.BadParameter
    """
    if asked.remove:
        _check_remove(asked)
    if asked.name is None:
        of_a_part = {"--where": asked.where, "--k": asked.k, "--method": asked.method}
        for option, value in of_a_part.items():
            if value is not None:
                message = f"{option} is of a part of the archive, and needs --name"
                if option != "--where":
                    message += "; for the whole archive the configuration says it"
                raise typer.BadParameter(message)
    elif asked.add_new:
        message = "--add-new is of the archive's clusters, and not of a part"
        raise typer.BadParameter(message)


def _check_remove(asked: Asked) -> None:
    """Refuse to take clusters out and to make some at once."""
    if asked.name is None:
        message = "--remove is of a part of the archive, and needs --name"
        raise typer.BadParameter(message)
    others = {"--where": asked.where, "--k": asked.k, "--method": asked.method}
    others |= {"--choose-k": asked.choose_k, "--refit": asked.refit or None}
    for option, value in others.items():
        if value is not None:
            message = f"--remove takes clusters out, and {option} is of clusters that are made"
            raise typer.BadParameter(message)
