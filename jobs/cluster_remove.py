"""Take the clusters of a part of the archive out of the store: what it has under one name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabatch.errors import ConfigurationError
from anabatch.stages.cluster import KIND
from anabatch.store.generations import cells_of, parts
from anabatch.store.live import CLUSTER, CLUSTER_MODEL, MODEL, cluster_unit

from .cluster_part import counted, in_version

if TYPE_CHECKING:
    from .context import Context


def run(context: Context, name: str) -> None:
    """Take a name's clusters and all generations of them out, in one commit.

    Versions of the store that have them keep them; `gc` takes what no version needs that is kept.

    Parameters
    ----------
    context : Context
    name : str
        Not that of the whole archive's.

    Raises
    ------
    ConfigurationError
        There is nothing under this name, or it is that of the whole archive's clusters.
    """
    if name == CLUSTER_MODEL:
        what = f"{name} are the whole archive's clusters, which are not removed"
        raise ConfigurationError(what, "--remove is of clusters of a part, by their name.")
    state, version = context.store.state, context.store.version
    named = parts(state, KIND)
    if name not in named:
        what = f"there are no clusters named {name}"
        there = f"There are those of {', '.join(named)}." if named else "No part has clusters yet."
        raise ConfigurationError(what, there)
    cells = cells_of(state, name)
    # whatever is kept of a model besides, as the choice of its k
    models = [one for one in state.stage(MODEL) if one.unit.split("/")[1] == name]
    prefix = cluster_unit("", name)
    assigned = [one for one in state.stage(CLUSTER) if one.unit.startswith(prefix)]
    state.delete([*models, *assigned])
    context.commit()
    text = f"cluster: removed {name}, of {counted(cells)}; {in_version(version, name)}"
    context.reporter.say("removed", text, model=name, cells=cells, version=version)
