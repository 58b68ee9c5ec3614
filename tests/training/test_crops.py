import numpy as np
import pytest
import torch
from scipy import ndimage

from anabatch.training.crops import Cropper, pieces, sample_of


def ellipses():
    rows, columns = np.mgrid[:260, :300]
    labels = np.zeros((260, 300), np.int32)
    for label, (y, x) in enumerate(((60, 60), (60, 200), (180, 130), (200, 240)), start=1):
        labels[((rows - y) / 22) ** 2 + ((columns - x) / 34) ** 2 < 1] = label
    picture = np.stack([(labels > 0).astype(np.float32), np.zeros(labels.shape, np.float32)])
    return picture, labels


def test_flows_of_a_crop_lead_to_the_centres_of_its_cells():
    cropper = Cropper([sample_of(*ellipses())], 160, 3, torch.device("cpu"))
    images, targets = cropper.draw(6)
    assert images.shape == (6, 2, 160, 160)
    checked = 0
    for image, target in zip(images.numpy(), targets.numpy(), strict=True):
        assert not image[1].any()
        found, _ = ndimage.label(target[2] > 0)
        for label, box in enumerate(ndimage.find_objects(found), start=1):
            if min(box[0].start, box[1].start) == 0 or max(box[0].stop, box[1].stop) == 160:
                continue  # cut by the border
            y, x = np.nonzero(found == label)
            inward = np.stack([y.mean() - y, x.mean() - x])
            flow = target[:2, y, x]
            far = np.hypot(*inward) > 8
            cosine = (inward * flow).sum(0)[far] / np.hypot(*inward)[far]
            assert cosine.mean() > 0.8
            checked += 1
    assert checked >= 3


def test_pieces_share_the_weight_and_lose_nothing():
    picture, labels = ellipses()
    sample = sample_of(picture, labels, weight=2.0)
    cut = list(pieces(sample, 100))
    assert sum(piece.weight for piece in cut) == pytest.approx(2.0)
    area = sum(piece.layers.shape[1] * piece.layers.shape[2] for piece in cut)
    assert area == 260 * 300
    assert max(max(piece.layers.shape[1:]) for piece in cut) <= 100


def test_crops_repeat_by_seed():
    samples = [sample_of(*ellipses())]
    first, again, other = (
        Cropper(samples, 64, seed, torch.device("cpu")).draw(2)[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_samples_without_weight_are_not_drawn():
    picture, labels = ellipses()
    empty = sample_of(np.zeros_like(picture), np.zeros_like(labels), weight=0.0)
    cropper = Cropper([empty, sample_of(picture, labels)], 200, 1, torch.device("cpu"))
    assert all(target[2].any() for target in cropper.draw(8)[1])
