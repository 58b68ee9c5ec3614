"""Counting GPUs, against a scripted nvidia-smi, and what their workers are started with."""

import os
import shlex
import stat

import pytest

from anabatch.config import parse_config
from anabatch.errors import DeviceError
from anabatch.gpus import (
    NETWORKS,
    for_job,
    require_gpus,
    visible_gpus,
    without_gpus,
    worker_options,
)

A, B, C = (f"GPU-{letter * 8}-0000-4000-8000-000000000000" for letter in "abc")
LISTED = "".join(f"GPU {n}: NVIDIA H100 80GB HBM3 (UUID: {u})\n" for n, u in enumerate((A, B, C)))
PART, OTHER = "MIG-11111111-0000-5000-8000-000000000000", "MIG-22222222-0000-5000-8000-000000000000"
SPLIT = (
    f"GPU 0: NVIDIA A100 (UUID: {A})\n"
    f"  MIG 3g.40gb     Device  0: (UUID: {PART})\n"
    f"  MIG 3g.40gb     Device  1: (UUID: {OTHER})\n"
    f"GPU 1: NVIDIA A100 (UUID: {B})\n"
)


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Puts an nvidia-smi on an empty path that prints what it is told to, and ends as it is told to."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def script(text, code=0):
        file = tmp_path / "nvidia-smi"
        printing = f"echo {shlex.quote(text.rstrip())}" if text else ":"
        file.write_text(f'#!/bin/sh\n[ "$*" = "-L" ] || exit 9\n{printing}\nexit {code}\n')
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    return script


def configured(**sections):
    return parse_config({"store": "s", **sections}, "test")


def test_gpus_are_named_by_their_uuids(smi):
    smi(LISTED)
    assert visible_gpus() == (A, B, C)


def test_a_gpu_that_is_split_counts_by_its_parts(smi):
    smi(SPLIT)
    assert visible_gpus() == (PART, OTHER, B)


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        ("0", ("0",)),
        (" 2, 0", ("2", "0")),
        ("1,7,0", ("1",)),  # CUDA ignores what follows an entry that it does not know
        ("0,-1,1", ("0",)),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        (B, (B,)),
        ("GPU-bbbb,0", ("GPU-bbbb", "0")),
        ("GPU-", ()),  # of three
        ("GPU-dddd", ()),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(smi, monkeypatch, chosen, kept):
    smi(LISTED)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert visible_gpus() == kept


def test_what_is_visible_without_a_driver_is_nothing(smi, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert visible_gpus() == ()
    smi("No devices were found", code=6)
    assert visible_gpus() == ()


@pytest.mark.parametrize(("wanted", "found"), [(1, (A,)), (3, (A, B, C)), ("all", (A, B, C))])
def test_as_many_as_were_asked_for(smi, wanted, found):
    smi(LISTED)
    assert require_gpus(wanted) == found


@pytest.mark.parametrize(
    ("wanted", "asked"), [("all", "all GPUs were"), (1, "1 GPU was"), (2, "2 GPUs were")]
)
@pytest.mark.usefixtures("smi")
def test_without_a_driver_that_is_the_reason(wanted, asked):
    missing = "asked for, and none is here: there is no nvidia-smi"
    with pytest.raises(DeviceError, match=f"^{asked} {missing}"):
        require_gpus(wanted)


def test_too_few_are_an_error_that_says_why(smi, monkeypatch):
    smi("NVIDIA-SMI has failed because it could not communicate with the driver", code=9)
    with pytest.raises(DeviceError, match=r"nvidia-smi says: NVIDIA-SMI has failed"):
        require_gpus(2)
    smi(LISTED)
    with pytest.raises(DeviceError, match=r"4 GPUs were asked for, and 3 are here"):
        require_gpus(4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(DeviceError, match=r"1 is here \(CUDA_VISIBLE_DEVICES is '1'\).*--gpus 0"):
        require_gpus(2)


# Before a run


def test_a_run_on_the_cpu_asks_for_nothing(smi):
    config = configured()
    assert for_job(config, NETWORKS) == config


@pytest.mark.parametrize(
    "sections",
    [
        {"segment": {"device": "cuda"}},
        {"segment": {"device": "cuda"}, "compute": {"scheduler": "sync"}},
        {"segment": {"device": "cuda"}, "compute": {"gpus": "all"}},
        {"compute": {"gpus": 1}},
        {"featurize": {"device": "cuda"}, "segment": {"recipe": "watershed"}},
    ],
)
def test_a_gpu_that_is_asked_for_must_be_there(smi, sections):
    config = configured(**sections)
    with pytest.raises(DeviceError, match="asked for, and none is here"):
        for_job(config, NETWORKS)
    smi(LISTED)
    assert for_job(config, NETWORKS) == config


def test_gpus_of_a_scheduler_elsewhere_are_not_looked_for_here(smi):
    remote = {"scheduler": "tcp://127.0.0.1:8786", "gpus": 8}
    config = configured(compute=remote, segment={"device": "cuda"})
    assert for_job(config, NETWORKS) == config


@pytest.mark.parametrize("asked", [False, True])
def test_a_recipe_without_networks_has_no_use_for_a_gpu(smi, asked):
    smi(LISTED)
    sections = {"compute": {"gpus": 1}, "segment": {"recipe": "watershed"}}
    with pytest.raises(DeviceError, match="'watershed' has no networks"):
        for_job(configured(**sections), NETWORKS, asked=asked)
    devices = {"segment": {"recipe": "watershed", "device": "cuda"}}
    with pytest.raises(DeviceError, match="'watershed' has no networks"):
        for_job(configured(**devices, featurize={"device": "cuda"}), NETWORKS, asked=asked)


@pytest.mark.parametrize(
    ("sections", "segment", "featurize"),
    [
        ({"compute": {"gpus": 2}}, True, False),
        ({"compute": {"gpus": 2}, "featurize": {"device": "cuda"}}, True, True),
        ({"featurize": {"device": "cuda"}}, False, True),
        (
            {
                "compute": {"gpus": 2},
                "segment": {"recipe": "watershed"},
                "featurize": {"device": "cuda"},
            },
            False,
            True,
        ),
    ],
)
def test_a_job_needs_the_gpus_of_its_own_networks(smi, sections, segment, featurize):
    config = configured(**sections)
    for name, needs in (("segment", segment), ("featurize", featurize)):
        if needs:
            with pytest.raises(DeviceError, match="asked for, and none is here"):
                for_job(config, (name,))
        else:
            assert for_job(config, (name,)) == without_gpus(config)


def test_gpus_asked_for_a_job_that_has_no_use_for_them_are_refused(smi):
    smi(LISTED)
    with pytest.raises(DeviceError, match=r"featurize.device is 'cpu'.*set featurize.device"):
        for_job(configured(compute={"gpus": 1}), ("featurize",), asked=True)
    watershed = {"segment": {"recipe": "watershed"}, "featurize": {"device": "cuda"}}
    with pytest.raises(DeviceError, match="'watershed' has no networks"):
        for_job(configured(compute={"gpus": 1}, **watershed), ("segment",), asked=True)


def test_jobs_without_networks_start_no_gpu_workers(smi):
    config = for_job(configured(compute={"gpus": "all", "workers": 3}), ())
    assert (config.compute.gpus, config.compute.workers) == (0, 3)


# Workers


def test_every_gpu_has_a_worker_that_sees_no_other():
    options = worker_options((A, B), 3)
    assert list(options) == ["gpu-0", "gpu-1", "cpu-0", "cpu-1", "cpu-2"]
    seen = {name: own["env"]["CUDA_VISIBLE_DEVICES"] for name, own in options.items()}
    assert seen == {"gpu-0": A, "gpu-1": B, "cpu-0": "", "cpu-1": "", "cpu-2": ""}
    resources = [own["resources"] for own in options.values()]
    assert resources == [{"GPU": 1}] * 2 + [{"CPU": 1}] * 3
    assert {own["nthreads"] for own in options.values()} == {1}
    assert sum(own["memory_limit"] for own in options.values()) == pytest.approx(1)


@pytest.mark.gpu
def test_as_many_gpus_are_counted_as_torch_finds():
    import torch

    assert len(visible_gpus()) == torch.cuda.device_count() > 0
    assert os.environ.get("CUDA_VISIBLE_DEVICES") or visible_gpus()[0].startswith(("GPU-", "MIG-"))
