"""Where runs work, what they may do unasked, and what is kept of them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from anabatch.config.section import Count, Integer, Positive, Real, Section, Share, form

_SCHEDULER = "'local', 'sync' or a Dask scheduler's address, as tcp://host:8786"


class ComputeConfig(Section):
    """Where and how wide the work runs. Nothing here may change a result.

    Attributes
    ----------
    scheduler : str
        `local` (processes on this machine), `sync` (in this process), or a Dask scheduler's address.
    workers : int
        Processes of a local cluster.
    gpus : int or 'all'
        GPUs for the networks of the segmentation: of a local cluster, each gets a worker process of
        its own, beside the others; of another scheduler, it needs so many workers with the resource
        `GPU`, and one with the resource `CPU`. Fewer than these are an error.
    threads : int
        Threads that the numerical libraries of every worker use. One number for every backend.
    batch_megapixels : float
        Size of a batch, in reference megapixels.
    window : int
        Batches in flight for every worker.
    retries : int
        How often a task that its worker does not survive is tried beside others, and then again
        with nothing beside it. With 0 it is tried once. A task that raises is not tried again.
    """

    scheduler: Annotated[str, form(r"local|sync|(tcp|tls|ws|wss)://.+", _SCHEDULER)] = "local"
    workers: Count = 2
    gpus: Annotated[Integer, Field(ge=0)] | Literal["all"] = 0
    threads: Count = 1
    batch_megapixels: Positive = 40.0
    window: Count = 2
    retries: Annotated[Integer, Field(ge=0)] = 2

    @model_validator(mode="after")
    def _gpus_need_workers(self) -> Self:
        if self.gpus and self.scheduler == "sync":
            message = "gpus need workers, and scheduler = 'sync' has none: use 'local'"
            raise ValueError(message)
        return self


class GuardsConfig(Section):
    """What a run may do without being asked to.

    Attributes
    ----------
    vanished_share : float
        A run stops when more than this share of an archive's known images is gone, or of its known
        exports; images that were whole and are in quarantine now count with those that are gone.
        Fewer than three never stop a run, unless they are all.
    recompute_share : float
        A run stops when it would compute more than this share of a stage's results again.
    """

    vanished_share: Share = 0.2
    recompute_share: Share = 0.3


class KeepConfig(Section):
    """What `anabatch gc` keeps of the past. A version is kept while either rule keeps it.

    Attributes
    ----------
    versions : int
        Newest versions of the ledger that are kept.
    days : float
        Days for which every version is kept.
    trash_days : float
        Days that what was taken away lies in the trash before it is deleted.
    """

    versions: Count = 30
    days: Annotated[Real, Field(ge=0)] = 30.0
    trash_days: Annotated[Real, Field(ge=0)] = 7.0
