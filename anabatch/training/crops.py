"""Random crops of training images, turned, scaled and re-exposed on the device that trains."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

PIECE = 576
"""Longest side of a training image; larger ones are cut into pieces."""

IMAGE, TARGET = slice(0, 2), slice(2, 5)
"""Layers of a sample: the two channels of the network, and flow along y, flow along x, inside."""

# Crops are scaled by a factor and its inverse at most.
_SCALE = 1.45
# Standard deviation of the blur at most, in network pixels; and half the width of its kernel.
_BLUR, _REACH = 1.2, 3


@dataclass(frozen=True)
class Sample:
    """One training image in network pixels.

    Attributes
    ----------
    layers : ndarray of float16, shape (5, h, w)
        :data:`IMAGE` as the network will see it, and :data:`TARGET`.
    weight : float
        How often it is drawn, relative to others.
    """

    layers: NDArray[np.float16]
    weight: float = 1.0


def sample_of(
    channels: NDArray[np.float32], labels: NDArray[np.int32], weight: float = 1.0
) -> Sample:
    """Return a training image with the flows of its labels, by Cellpose's own function.

    Parameters
    ----------
    channels : ndarray of float32, shape (2, h, w)
    labels : ndarray of int32, shape (h, w)
    weight : float
    """
    import torch
    from cellpose.dynamics import labels_to_flows

    target = np.zeros((3, *labels.shape), np.float32)
    if labels.any():
        flows = labels_to_flows([labels], device=torch.device("cpu"))[0]
        target[:2] = flows[2:4]
    target[2] = labels > 0
    return Sample(np.concatenate([channels, target]).astype(np.float16), weight)


def pieces(sample: Sample, side: int = PIECE) -> Iterator[Sample]:
    """Cut a sample into pieces of at most `side` pixels, which share its weight by their areas."""
    height, width = sample.layers.shape[1:]
    for rows in _parts(height, side):
        for columns in _parts(width, side):
            part = sample.layers[:, rows, columns]
            share = part.shape[1] * part.shape[2] / (height * width)
            yield Sample(part, sample.weight * share)


def _parts(length: int, side: int) -> list[slice]:
    count = -(-length // side)
    edges = np.linspace(0, length, count + 1).astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]


class Cropper:
    """Draws batches of crops from samples that lie on the device.

    Parameters
    ----------
    samples : sequence of Sample
    side : int
        Of the crops, in network pixels.
    seed : int
    device : torch.device
    """

    def __init__(self, samples: Sequence[Sample], side: int, seed: int, device: Any) -> None:
        import torch

        cut = [piece for sample in samples for piece in pieces(sample)]
        height, width = (max(piece.layers.shape[axis] for piece in cut) for axis in (1, 2))
        self._layers = torch.zeros((len(cut), 5, height, width), dtype=torch.float16, device=device)
        for row, piece in enumerate(cut):
            _, h, w = piece.layers.shape
            self._layers[row, :, :h, :w] = torch.from_numpy(np.ascontiguousarray(piece.layers))
        sizes = [piece.layers.shape[1:] for piece in cut]
        self._sizes = torch.tensor(sizes, dtype=torch.float32, device=device)
        weights = torch.tensor([piece.weight for piece in cut], dtype=torch.float64, device=device)
        self._weights = weights / weights.sum()
        self._side = side
        self._random = torch.Generator(device=device).manual_seed(seed)
        self._device = device

    def draw(self, count: int) -> tuple[Any, Any]:
        """Draw crops.

        Parameters
        ----------
        count : int

        Returns
        -------
        images : torch.Tensor, shape (count, 2, side, side)
        targets : torch.Tensor, shape (count, 3, side, side)
            Flow along y, flow along x, inside.
        """
        import torch
        from torch.nn.functional import grid_sample

        rows = torch.multinomial(self._weights, count, replacement=True, generator=self._random)
        turn = self._turns(count)
        crops = grid_sample(self._layers[rows].float(), self._grid(rows, turn), align_corners=False)
        images, targets = crops[:, IMAGE], crops[:, TARGET]
        inside = (targets[:, 2:] > 0.5).float()
        # A vector of the source is turned back to be one of the crop.
        flows = torch.einsum("nij,njhw->nihw", torch.linalg.inv(turn), targets[:, :2])
        length = flows.norm(dim=1, keepdim=True).clamp_min(1e-3)
        flows = torch.where(inside > 0, flows / length, 0.0)
        return self._expose(images), torch.cat([flows, inside], dim=1)

    def _uniform(self, count: int, low: float = 0.0, high: float = 1.0) -> Any:
        import torch

        values = torch.rand(count, generator=self._random, device=self._device)
        return low + (high - low) * values

    def _turns(self, count: int) -> Any:
        """Draw matrices from crop to source, (y, x): a turn by any angle, a flip, a scale."""
        import torch

        angle = self._uniform(count, 0.0, 2 * np.pi)
        scale = torch.exp(self._uniform(count, -np.log(_SCALE), np.log(_SCALE)))
        flip = torch.where(self._uniform(count) < 0.5, -1.0, 1.0)
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        return torch.stack([cos, -sin * flip, sin, cos * flip], dim=1).reshape(count, 2, 2)

    def _grid(self, rows: Any, turn: Any) -> Any:
        """Return where in its source every pixel of a crop lies, in grid_sample's coordinates."""
        import torch

        count = len(rows)
        middle = torch.stack([self._uniform(count), self._uniform(count)], 1) * self._sizes[rows]
        axis = torch.arange(self._side, device=self._device) - (self._side - 1) / 2
        offsets = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).reshape(2, -1)
        places = (turn @ offsets).transpose(1, 2) + middle[:, None]
        extent = torch.tensor(self._layers.shape[2:], device=self._device)
        normal = (2 * places + 1) / extent - 1
        return normal.flip(2).reshape(count, self._side, self._side, 2)

    def _expose(self, images: Any) -> Any:
        """Change contrast, brightness, focus and noise of every crop; empty channels stay empty."""
        import torch

        count = len(images)
        shape = (count, 1, 1, 1)
        used = images.abs().amax(dim=(2, 3), keepdim=True) > 0
        blur = self._uniform(count, 0.0, _BLUR) * (self._uniform(count) < 0.3)
        images = blurred(images, blur)
        gain = torch.exp(self._uniform(count, -0.5, 0.5)).reshape(shape)
        power = torch.exp(self._uniform(count, -0.35, 0.35)).reshape(shape)
        offset = self._uniform(count, -0.15, 0.15).reshape(shape)
        images = gain * images.sign() * images.abs() ** power + offset
        spread = (self._uniform(count, 0.0, 0.12) * (self._uniform(count) < 0.5)).reshape(shape)
        noise = torch.randn(images.shape, generator=self._random, device=self._device)
        return torch.where(used, images + spread * noise, 0.0)


def blurred(images: Any, deviation: Any) -> Any:
    """Blur every image by its own Gaussian."""
    import torch
    from torch.nn.functional import conv2d

    count, channels, height, width = images.shape
    at = torch.arange(-_REACH, _REACH + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-(at**2) / (2 * deviation.clamp_min(0.05)[:, None] ** 2))
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    flat = images.reshape(1, count * channels, height, width)
    size = 2 * _REACH + 1
    flat = conv2d(flat, kernel.reshape(-1, 1, size, 1), padding=(_REACH, 0), groups=len(kernel))
    flat = conv2d(flat, kernel.reshape(-1, 1, 1, size), padding=(0, _REACH), groups=len(kernel))
    return flat.reshape(images.shape)
