"""What the microscope and the camera do to a field: haze, gradients, blur, noise, and the scale bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

BAR = (34, 26, 216, 24)
"""Place of the burnt-in scale bar: left, top, width, height, in reference pixels."""


@dataclass(frozen=True)
class Optics:
    """One exposure.

    Attributes
    ----------
    amplitude : float
        Grey levels of a structure of brightness 1.
    blur : float
        Standard deviation of the blur, in reference pixels.
    background : float
        Grey levels of the empty slide.
    gradient : float
        Share by which illumination changes over the field.
    haze : float
        Share of light scattered from out of focus.
    haze_size : float
        Reach of the scattered light, in reference pixels.
    gain : float
        Variance of the shot noise per grey level.
    read_noise : float
        Standard deviation of the camera's noise, in grey levels.
    bar : bool
        Whether a scale bar is burnt in.
    """

    amplitude: float
    blur: float
    background: float
    gradient: float
    haze: float
    haze_size: float
    gain: float
    read_noise: float
    bar: bool


def draw_optics(rng: np.random.Generator, *, dim: bool) -> Optics:
    """Draw an exposure; `dim` for negative fields, exposed like the others and hence dark."""
    low, high = (35, 110) if dim else (70, 340)
    return Optics(
        amplitude=float(np.exp(rng.uniform(np.log(low), np.log(high)))),
        blur=float(0.5 + rng.gamma(1.4, 0.32)),
        background=float(rng.choice([1.0, 5.0, 8.0, 14.0, 30.0], p=[0.25, 0.25, 0.25, 0.2, 0.05])),
        gradient=float(rng.uniform(0.0, 0.4)),
        haze=float(rng.choice([0.05, 0.15, 0.35, 0.7], p=[0.3, 0.3, 0.3, 0.1])),
        haze_size=float(rng.uniform(10, 60)),
        gain=float(np.exp(rng.uniform(np.log(0.02), np.log(0.35)))),
        read_noise=float(rng.uniform(0.3, 1.2)),
        bar=bool(rng.random() < 0.6),
    )


def expose(
    rng: np.random.Generator, light: NDArray[np.float32], optics: Optics, scale: float
) -> NDArray[np.uint8]:
    """Turn the light of a field into an 8-bit image.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of chance.
    light : ndarray, shape (H, W), float32
        Brightness of the cells, about 1 where a pattern is bright.
    optics : Optics
        The exposure.
    scale : float
        Pixels per reference pixel.

    Returns
    -------
    ndarray, shape (H, W), uint8
    """
    image = cv2.GaussianBlur(light, (0, 0), optics.blur * scale)
    image = (1 - 0.5 * optics.haze) * image + optics.haze * _blur_far(
        light, optics.haze_size * scale
    )
    image = image * np.float32(optics.amplitude) * _illumination(rng, light.shape, optics.gradient)
    image += np.float32(optics.background) * _illumination(rng, light.shape, optics.gradient)
    deviation = np.sqrt(np.float32(optics.gain) * image + np.float32(optics.read_noise**2))
    image += deviation * rng.standard_normal(light.shape, np.float32)
    signal = np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)
    if optics.bar:
        _burn_bar(signal, scale, "20" if rng.random() < 0.7 else "100")
    return signal


def bar_corner(optics: Optics, scale: float) -> tuple[float, float]:
    """Return the (width, height), in pixels, of the corner that the scale bar takes; zeros without one."""
    if not optics.bar:
        return 0.0, 0.0
    return (BAR[0] + BAR[2]) * scale, (BAR[1] + BAR[3]) * scale


def _blur_far(light: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Blur widely, at an eighth of the resolution."""
    height, width = light.shape
    small = cv2.resize(
        light, (max(1, width // 8), max(1, height // 8)), interpolation=cv2.INTER_AREA
    )
    small = cv2.GaussianBlur(small, (0, 0), max(0.5, sigma / 8))
    return np.asarray(
        cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32
    )


def _illumination(
    rng: np.random.Generator, shape: tuple[int, ...], strength: float
) -> NDArray[np.float32]:
    """Return smooth illumination of mean about 1: a tilt and a vignette, each of the given strength."""
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    tilt = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    shift_x, shift_y = rng.normal(0, 0.3, 2)
    vignette = (x - np.float32(shift_x)) ** 2 + (y - np.float32(shift_y)) ** 2
    return np.asarray(
        np.clip(1 + strength * (0.6 * tilt + 0.25 - 0.35 * vignette), 0.15, None), np.float32
    )


def _burn_bar(signal: NDArray[np.uint8], scale: float, text: str) -> None:
    """Draw the scale bar into the top left corner, as acquisition programs do."""
    left, top, width, height = (round(part * scale) for part in BAR)
    if left + width > signal.shape[1] // 2 or top + height > signal.shape[0] // 4:
        return
    panel = Image.new("L", (width, height), 66)
    pen = ImageDraw.Draw(panel)
    font = ImageFont.load_default(size=0.75 * height)
    baseline = round(0.7 * height)
    pen.text((0.48 * width, baseline), f"{text} ", fill=255, font=font, anchor="rs")
    pen.text((0.48 * width, baseline), "um", fill=255, font=font, anchor="ls")
    # Pillow's own font has no Greek: a u gets the stem of a mu
    stem = round(0.48 * width + 0.06 * height)
    pen.line(
        [(stem, baseline), (stem, baseline + round(0.2 * height))],
        fill=255,
        width=max(1, round(scale)),
    )
    pen.line([(0, height - 1), (width, height - 1)], fill=190, width=max(1, round(1.5 * scale)))
    signal[top : top + height, left : left + width] = np.asarray(panel)
