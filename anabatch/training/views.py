"""Views of cells: turned, bent, cut, stained and exposed anew, on the device that trains.

What makes no other pattern must not make other features: how a cell lies, how long the camera looked, how
sharp, how noisy the picture is, and where a segmentation thought that the cell ends. The black
outside the cell stays black, as in the crops that the features are made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from anabatch.cells import CYTOPLASM, NUCLEUS, OUTSIDE
from anabatch.training.crops import blurred

if TYPE_CHECKING:
    from anabatch.training.pattern_cells import PatternCells

_DARK = 0.005  # what a camera sees in the dark, by its noise


@dataclass(frozen=True)
class Strength:
    """How far views may be from the crop.

    Attributes
    ----------
    scale, stretch : float
        Both by a factor and its inverse at most, alike along both axes, and of one against the other.
    shift, bend : float
        As a share of half the crop: by so much at most, and standard deviation of a smooth bending.
    cut : float
        Share of the views of which a straight line takes a part away, as a neighbour's outline or the
        edge of the field does.
    stain : float
        Largest contrast of smooth changes of brightness across the cell.
    grain : float
        Largest contrast of a finer texture.
    blur, sharpening : float
        Largest standard deviation in crop pixels, and how much of that detail is added at most.
    gain, power : float
        Brightness and gamma: by a factor and its inverse at most, as natural logarithms.
    offset : float
        Light added everywhere in the cell at most, white being 1.
    noise : float
        Largest standard deviation of the noise of a white pixel; it falls with the root of the light.
    """

    scale: float = 1.3
    stretch: float = 1.15
    shift: float = 0.08
    bend: float = 0.03
    cut: float = 0.15
    stain: float = 0.3
    grain: float = 0.12
    blur: float = 1.5
    sharpening: float = 0.7
    gain: float = 0.7
    power: float = 0.35
    offset: float = 0.04
    noise: float = 0.08


class Views(NamedTuple):
    """Views of n cells.

    Attributes
    ----------
    images : torch.Tensor, shape (n, 1, side, side), float32
        Grey levels from 0 to 1, in steps of 1 / 255; 0 outside the cell.
    inside : torch.Tensor, shape (n, 1, side, side), float32
        1 in the cell and the pixel beyond it into which resizing spreads its light, 0 outside.
    masks : torch.Tensor, shape (n, 1, side, side), uint8
        0 outside the cell, 1 cytoplasm, 2 nucleus.
    """

    images: Any
    inside: Any
    masks: Any

    def channels(self, kind: str) -> Any:
        """Make a network's three channels, as :func:`anabatch.features.inputs.preprocess` does.

        Parameters
        ----------
        kind : {'grey', 'nucleus-cytoplasm-mask'}

        Returns
        -------
        torch.Tensor, shape (n, 3, side, side), float32
            From 0 to 1.
        """
        import torch

        if kind == "grey":
            return self.images.expand(-1, 3, -1, -1)
        nucleus = (self.masks == NUCLEUS).float()
        cell = (self.masks != OUTSIDE).float()
        return torch.cat([self.images * nucleus, self.images * (1 - nucleus), cell], dim=1)


class Viewer:
    """Draws views of cells that lie on the device.

    Parameters
    ----------
    cells : PatternCells
    seed : int
    device : torch.device
    strength : Strength
    """

    def __init__(
        self, cells: PatternCells, seed: int, device: Any, strength: Strength | None = None
    ) -> None:
        import torch

        self._crops = torch.from_numpy(cells.crops).to(device)
        self._masks = torch.from_numpy(cells.masks).to(device)
        self._random = torch.Generator(device=device).manual_seed(seed)
        self._device = device
        self._strength = strength or Strength()

    def draw_rows(self, count: int) -> Any:
        """Draw so many cells, each as likely as any other, with replacement.

        Returns
        -------
        torch.Tensor, shape (count,), int64
        """
        import torch

        high = len(self._crops)
        return torch.randint(high, (count,), generator=self._random, device=self._device)

    def view(self, rows: Any) -> Views:
        """Draw one view of every cell.

        Parameters
        ----------
        rows : torch.Tensor, shape (n,), int64

        Returns
        -------
        Views
        """
        import torch
        from torch.nn.functional import grid_sample

        crops, masks = self._crops[rows], self._masks[rows]
        cells = masks != OUTSIDE
        areas = torch.stack([cells | (crops > 0), cells, masks == NUCLEUS], 1)
        layers = torch.cat([(crops / 255)[:, None], areas.float()], 1)
        grid = self._grid(len(rows), layers.shape[-1])
        warped = grid_sample(layers, grid, align_corners=False)
        inside, cell, nucleus = ((warped[:, 1:] > 0.5).float() * self._uncut(grid)).split(1, 1)
        exposed = self._exposed(self._stained(warped[:, :1]))
        images = (exposed.clamp(0, 1) * 255).round() / 255 * inside
        parts = torch.where(nucleus > 0, NUCLEUS, CYTOPLASM * cell).to(torch.uint8)
        return Views(images, inside, parts)

    def _uniform(self, count: int, low: float = 0.0, high: float = 1.0) -> Any:
        """Draw numbers, shape (count, 1, 1, 1)."""
        import torch

        drawn = torch.rand((count, 1, 1, 1), generator=self._random, device=self._device)
        return low + (high - low) * drawn

    def _sometimes(self, count: int, share: float) -> Any:
        return (self._uniform(count) < share).float()

    def _smooth(self, count: int, channels: int, coarse: int, side: int) -> Any:
        """Draw smooth random images of standard deviation about 1."""
        import torch
        from torch.nn.functional import interpolate

        shape = (count, channels, coarse, coarse)
        drawn = torch.randn(shape, generator=self._random, device=self._device)
        return interpolate(drawn, size=(side, side), mode="bicubic", align_corners=False)

    def _grid(self, count: int, side: int) -> Any:
        """Return where in its crop every pixel of a view lies, in grid_sample's coordinates."""
        import torch

        own = self._strength
        angle = self._uniform(count, 0, 2 * np.pi).flatten()
        scale = torch.exp(self._uniform(count, -1, 1).flatten() * np.log(own.scale))
        stretch = torch.exp(self._uniform(count, -0.5, 0.5).flatten() * np.log(own.stretch))
        flip = 1 - 2 * self._sometimes(count, 0.5).flatten()
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1)
        axes = torch.stack([stretch * flip / scale, 1 / (stretch * scale)], 1)
        matrix = turn.reshape(count, 2, 2) * axes[:, :, None]
        shift = torch.cat([self._uniform(count, -own.shift, own.shift) for _ in range(2)], 1)
        axis = (torch.arange(side, device=self._device) + 0.5) * 2 / side - 1
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        places = torch.einsum("nij,jyx->niyx", matrix, torch.stack([x, y])) + shift
        places = places + own.bend * self._smooth(count, 2, 5, side)
        return places.permute(0, 2, 3, 1)

    def _uncut(self, grid: Any) -> Any:
        """Return 1 where no straight line takes the view away, shape (n, 1, side, side)."""
        import torch

        count = len(grid)
        angle = self._uniform(count, 0, 2 * np.pi)[:, 0]
        reach = self._uniform(count, 0.3, 0.8)[:, 0]
        reach = torch.where(self._sometimes(count, self._strength.cut)[:, 0] > 0, reach, 9.0)
        along = grid[..., 0] * angle.cos() + grid[..., 1] * angle.sin()
        return (along < reach).float()[:, None]

    def _stained(self, images: Any) -> Any:
        """Brighten and darken parts of the cell, smoothly and in a finer grain."""
        count, side, own = len(images), images.shape[-1], self._strength
        uneven = self._uniform(count, 0, own.stain) * self._smooth(count, 1, 4, side)
        finer = self._smooth(count, 1, 16, side) + self._smooth(count, 1, 40, side)
        grain = self._uniform(count, 0, own.grain) * self._sometimes(count, 0.3)
        return images * (1 + uneven + grain * finer).clamp_min(0)

    def _exposed(self, images: Any) -> Any:
        """Change focus, brightness, gamma and noise."""
        import torch

        count, own = len(images), self._strength
        soft = blurred(images, self._uniform(count, 0, own.blur).flatten())
        amount = self._uniform(count, -1, own.sharpening) * self._sometimes(count, 0.6)
        images = (images + amount * (images - soft)).clamp_min(0)
        power = torch.exp(self._uniform(count, -own.power, own.power))
        gain = torch.exp(self._uniform(count, -own.gain, own.gain))
        offset = self._uniform(count, 0, own.offset) * self._sometimes(count, 0.3)
        spread = self._uniform(count, 0, own.noise) * self._sometimes(count, 0.6)
        noise = torch.randn(images.shape, generator=self._random, device=self._device)
        light = gain * images**power + offset
        return light + spread * (light + _DARK).sqrt() * noise
