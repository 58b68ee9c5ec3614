"""What the feature network is trained to get right, beside the names of patterns."""

from __future__ import annotations

from typing import Any

_LEAST = 1e-3  # the smallest divisor of a standard deviation


def supervised_contrast(vectors: Any, labels: Any, temperature: float = 0.1) -> Any:
    """Return how badly cells of equal labels find each other among all others.

    Parameters
    ----------
    vectors : torch.Tensor, shape (n, d)
    labels : torch.Tensor, shape (n, p), bool
        Rows are alike if all of their labels are equal.
    temperature : float

    Returns
    -------
    torch.Tensor
        The mean of L_out over the rows that are like at least one other.

    References
    ----------
    P. Khosla et al., "Supervised contrastive learning", NeurIPS 33 (2020), equation 2.
    """
    import torch
    from torch.nn.functional import normalize

    units = normalize(vectors.float(), dim=1)
    itself = torch.eye(len(units), dtype=torch.bool, device=units.device)
    likeness = (units @ units.T / temperature).masked_fill(itself, float("-inf"))
    shares = likeness - likeness.logsumexp(dim=1, keepdim=True)
    alike = (labels[:, None] == labels[None]).all(dim=2) & ~itself
    count = alike.sum(dim=1)
    found = shares.masked_fill(~alike, 0).sum(dim=1) / count.clamp_min(1)
    return -found[count > 0].mean()


def alignment(features: Any, truth: Any) -> Any:
    """Return how far the features' largest differences are from those that the truth has.

    Whoever looks at features without labels, as kernel PCA and k-means do, sees what they differ in most:
    that a linear reader could find something in them is not enough.

    Parameters
    ----------
    features : torch.Tensor, shape (n, d)
    truth : torch.Tensor, shape (n, p)
        What shall make two rows different, by how much.

    Returns
    -------
    torch.Tensor
        1 less the linear centred kernel alignment: 0 if the rows' Gram matrices are alike but for
        a factor, 1 if they have nothing in common.

    References
    ----------
    S. Kornblith et al., "Similarity of neural network representations revisited", ICML (2019).
    """
    rows, wanted = (part.float() - part.float().mean(dim=0) for part in (features, truth))
    found, target = rows @ rows.T, wanted @ wanted.T
    lengths = found.norm() * target.norm()
    return 1 - (found * target).sum() / lengths.clamp_min(_LEAST)


def wanted_differences(labels: Any, seen: Any, share: float) -> Any:
    """Put patterns and traits into one table, for :func:`alignment`.

    Parameters
    ----------
    labels : torch.Tensor, shape (n, p), bool
    seen : torch.Tensor, shape (n, q), float32
        The rows' :func:`traits`.
    share : float
        Of the whole variance, what traits shall have.

    Returns
    -------
    torch.Tensor, shape (n, p + q), float32
    """
    import torch

    parts = [(labels.float(), 1 - share), (seen, share)]
    scaled = []
    for part, own in parts:
        centred = part - part.mean(dim=0)
        total = (centred**2).sum(dim=1).mean()
        scaled.append(centred * (own / total.clamp_min(_LEAST)) ** 0.5)
    return torch.cat(scaled, dim=1)


def traits(images: Any, inside: Any) -> Any:
    """Return what of a view features must keep although patterns do not need it.

    A network that names patterns alone may forget how bright a cell is, or how large its bright parts
    are; then nobody would find atypical cells of one pattern in its features.

    Parameters
    ----------
    images, inside : torch.Tensor, shape (n, 1, side, side), float32

    Returns
    -------
    torch.Tensor, shape (n, 4), float32
        Mean brightness in the cell, its standard deviation, brightness of the brightest spot of 8 x 8
        pixels, and the share of the crop that the cell fills; each less its mean over the rows, by
        its standard deviation.
    """
    import torch
    from torch.nn.functional import avg_pool2d

    area = inside.sum(dim=(1, 2, 3)).clamp_min(1)
    mean = images.sum(dim=(1, 2, 3)) / area
    square = (images**2).sum(dim=(1, 2, 3)) / area
    spread = (square - mean**2).clamp_min(0).sqrt()
    spot = avg_pool2d(images, 8).amax(dim=(1, 2, 3))
    found = torch.stack([mean, spread, spot, area / images[0].numel()], dim=1)
    return (found - found.mean(dim=0)) / found.std(dim=0).clamp_min(_LEAST)
