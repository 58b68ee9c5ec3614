"""Which GPUs there are, and what workers of which kind a run starts. No network library is imported.

GPUs are counted by `nvidia-smi -L`: it comes with the driver, needs no package, and takes none of a
GPU's memory. `CUDA_VISIBLE_DEVICES` restricts them as CUDA itself reads it. They are named by their
UUIDs, which mean the same to every program, where numbers depend on `CUDA_DEVICE_ORDER`.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from anabatch.errors import DeviceError

if TYPE_CHECKING:
    from anabatch.config import Config

GPU, CPU = "GPU", "CPU"
"""Resources of workers, in Dask's sense: a worker has one of the two, and a task may ask for one."""

NETWORKS = ("segment", "featurize")
"""Sections of the configuration whose networks may run on a GPU."""

VISIBLE = "CUDA_VISIBLE_DEVICES"

Wanted: TypeAlias = "int | Literal['all']"

_LIST = ("nvidia-smi", "-L")
_TIMEOUT = 60.0  # seconds; without its daemon the driver is loaded first
_LINE = re.compile(r"^\s*(?:GPU|MIG)\b.*\(UUID: (?P<uuid>(?:GPU|MIG)-[^)\s]+)\)\s*$")
_REMEDY = (
    "Look at `nvidia-smi -L` and CUDA_VISIBLE_DEVICES, ask for what is there, or run on the CPU: "
    "--gpus 0, segment.device = 'cpu', featurize.device = 'cpu'."
)


def visible_gpus() -> tuple[str, ...]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    Returns
    -------
    tuple of str
        UUIDs, or the entries of CUDA_VISIBLE_DEVICES where it is set. Where a GPU is split (MIG),
        its parts.
    """
    return _visible()[0]


def require_gpus(wanted: Wanted) -> tuple[str, ...]:
    """Return the GPUs to use.

    Parameters
    ----------
    wanted : int or 'all'
        How many; `all` is at least one.

    Raises
    ------
    DeviceError
        They are not there.
    """
    there, why = _visible()
    number = max(1, len(there)) if wanted == "all" else wanted
    if number <= len(there):
        return there[:number]
    asked = "1 GPU was" if wanted == 1 else f"{wanted} GPUs were"
    here = (
        "none is here" if not there else f"{len(there)} {'is' if len(there) == 1 else 'are'} here"
    )
    raise DeviceError(f"{asked} asked for, and {here}{why}", _REMEDY)  # noqa: EM102 (made of parts)


def for_job(config: Config, networks: tuple[str, ...], *, asked: bool = False) -> Config:
    """Return the configuration for a job: with its GPUs, which are there, or without any.

    What a scheduler elsewhere has is seen when it is first needed.

    Parameters
    ----------
    config : Config
    networks : tuple of str
        The sections of the configuration whose networks the job runs, of `NETWORKS`.
    asked : bool
        Whether GPUs were asked for this job alone, and not for whichever has a use for them.

    Raises
    ------
    DeviceError
        A GPU was asked for that is not there, or that nothing would run on.
    """
    if networks:
        _refuse_idle_gpus(config, networks if asked else NETWORKS)
    if not any(_is_on_gpu(config, name) for name in networks):
        return without_gpus(config)
    if config.compute.scheduler in ("local", "sync"):
        require_gpus(config.compute.gpus or 1)
    return config


def _is_on_gpu(config: Config, name: str) -> bool:
    if name == "segment" and config.compute.gpus:
        return config.segment.recipe != "watershed"
    return bool(getattr(config, name).device == "cuda")


def _refuse_idle_gpus(config: Config, networks: tuple[str, ...]) -> None:
    """Refuse GPUs that none of these networks would run on."""
    segment = config.segment
    idle = config.compute.gpus and not any(_is_on_gpu(config, name) for name in networks)
    if (
        segment.recipe == "watershed"
        and "segment" in networks
        and (segment.device != "cpu" or idle)
    ):
        what = "a GPU was asked for, and the recipe 'watershed' has no networks to run on it"
        raise DeviceError(what, "Leave out --gpus, and set segment.device to 'cpu'.")
    if idle:
        what = "a GPU was asked for, and featurize.device is 'cpu'"
        raise DeviceError(what, "Leave out --gpus, or set featurize.device to 'cuda'.")


def describer(config: Config) -> str | None:
    """Return the resource that a worker needs to describe cells; None where workers are alike."""
    if not config.compute.gpus:
        return None
    return GPU if config.featurize.device == "cuda" else CPU


def without_gpus(config: Config) -> Config:
    """Return a configuration for jobs that run no network on a GPU."""
    compute = config.compute.model_copy(update={"gpus": 0})
    return config.model_copy(update={"compute": compute})


def worker_options(gpus: tuple[str, ...], workers: int) -> dict[str, dict[str, Any]]:
    """Return what every worker of this machine is started with, by its name.

    One worker a GPU sees that one alone, and has the resource `GPU`; the others see none and have
    the resource `CPU`. Each computes one task at a time, and has an equal share of the memory.

    Parameters
    ----------
    gpus : tuple of str
        As :func:`require_gpus` returns them.
    workers : int
        Workers beside them.

    Returns
    -------
    dict of str to dict
        Options of `distributed.Nanny`.
    """
    share = 1.0 / (len(gpus) + workers)
    common = {"nthreads": 1, "host": "127.0.0.1", "memory_limit": share}
    made = {
        f"gpu-{number}": common | {"resources": {GPU: 1}, "env": {VISIBLE: name}}
        for number, name in enumerate(gpus)
    }
    return made | {
        f"cpu-{number}": common | {"resources": {CPU: 1}, "env": {VISIBLE: ""}}
        for number in range(workers)
    }


def _visible() -> tuple[tuple[str, ...], str]:
    """Return the GPUs, and why there are not more, as the end of a sentence."""
    listed, why = _listed()
    chosen = os.environ.get(VISIBLE)
    if chosen is None or not listed:
        return listed, why
    kept: list[str] = []
    for entry in chosen.split(","):
        name = entry.strip()
        if not _names_one(name, listed):
            break  # CUDA stops at the first that it does not know
        kept.append(name)
    return tuple(kept), f" ({VISIBLE} is {chosen!r})"


def _names_one(name: str, listed: tuple[str, ...]) -> bool:
    if name.isdecimal():
        return int(name) < len(listed)
    is_uuid = name.startswith(("GPU-", "MIG-"))
    return is_uuid and sum(uuid.startswith(name) for uuid in listed) == 1


def _listed() -> tuple[tuple[str, ...], str]:
    """Return the UUIDs of all GPUs, or of their parts, and why there are none."""
    try:
        answer = subprocess.run(  # noqa: S603 (the driver's own program, whatever folder it is in)
            _LIST, capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
    except FileNotFoundError:
        return (), ": there is no nvidia-smi, which comes with NVIDIA's driver"
    except (OSError, subprocess.TimeoutExpired) as error:
        return (), f": nvidia-smi does not answer: {error}"
    if answer.returncode:
        said = (answer.stdout or answer.stderr).strip().partition("\n")[0]
        return (), f": nvidia-smi says: {said}"
    found: list[str] = []
    for line in answer.stdout.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        if match["uuid"].startswith("MIG-") and found and found[-1].startswith("GPU-"):
            found.pop()  # a GPU that is split cannot be used as a whole
        found.append(match["uuid"])
    return tuple(found), ""
