"""`anabatch layout`: what a layout makes of an archive, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Say what a layout makes of an archive.", no_args_is_help=True)


ArchiveArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="The archive's folder. It is only read.")
]
LayoutOption = Annotated[
    str,
    typer.Option("--layout", help="dated, by-class, unlabelled, a TOML file, or auto: detect it."),
]
VocabularyOption = Annotated[
    Path | None, typer.Option("--vocabulary", help="A folder with a vocabulary of your own.")
]
ExamplesOption = Annotated[
    int, typer.Option("--examples", min=0, help="Kinds of unmatched names that are shown.")
]
SampleOption = Annotated[
    int, typer.Option("--sample", min=0, help="Images, and exports, that are opened.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON, for another program.")]


@app.callback()
def layout() -> None:
    """Say what a layout makes of an archive."""


@app.command()
def check(
    archive: ArchiveArgument,
    layout: LayoutOption = "auto",
    vocabulary: VocabularyOption = None,
    examples: ExamplesOption = 5,
    sample: SampleOption = 50,
    *,
    as_json: JsonOption = False,
) -> None:
    """Say what matches a layout and what does not. Code 3: something does not match."""
    from anabatch.archive.layout import choose_layout, count_fits, load_layout
    from anabatch.errors import AmbiguousLayoutError
    from anabatch.named_places import reading
    from anabatch.vocabulary import Vocabulary

    from .exit_codes import exit_code
    from .layout import check_layout
    from .layout_show import show_check, show_fits, to_json

    with reading(archive):
        fits = None
        if layout == "auto":
            fits = count_fits(archive)
            if not as_json:
                show_fits(archive, fits)
            try:
                chosen = choose_layout(archive, fits)
            except AmbiguousLayoutError as error:
                if as_json:
                    typer.echo(to_json(None, fits, str(error)))
                raise
        else:
            chosen = load_layout(layout)
        words = Vocabulary.load(vocabulary, codes=chosen.code_table, classes=chosen.class_table)
        found = check_layout(archive, chosen, words, examples=examples, sample=sample)
        if as_json:
            typer.echo(to_json(found, fits, ""))
        else:
            show_check(found)
    raise typer.Exit(exit_code(None, len(found.unmatched)))
