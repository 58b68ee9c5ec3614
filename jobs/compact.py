"""Compact: small and mostly dead parts written anew, and the ledger as one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabatch.report.text import plural
from anabatch.store.compaction import compact as rewrite

from .session import session

if TYPE_CHECKING:
    from anabatch.config import Config
    from anabatch.store.compaction import Compaction

    from .reporter import Reporter


def compact(config: Config, reporter: Reporter) -> Compaction:
    """Compact a store. Nothing that anybody reads changes, and no plan finds anything to do.

    Raises
    ------
    StoreLockedError
        A run holds the store.
    StoreNotFoundError
        There is no store.
    PartCorruptError
        A part that is to be written anew is damaged. Nothing is committed.
    """
    with session(config, reporter, create=False, command="compact") as context:
        version = context.store.version
        done = rewrite(context.store, run=context.run)
        context.did_something = context.store.version != version
        for table, (before, after) in done.rewritten.items():
            text = f"{table}: {plural(before, 'part is', 'parts are')} now {after}"
            reporter.say("compacted", text, table=table, before=before, after=after)
        if done.files:
            text = f"the ledger's {done.files} files are now one"
            reporter.say("folded", text, files=done.files)
        if not context.did_something:
            reporter.say("nothing", "nothing to compact", version=version)
    return done
