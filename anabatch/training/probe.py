"""How much features know of patterns: a linear probe and nearest neighbours, split by field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_ALPHAS = (1e2, 1e3, 1e4, 1e5, 1e6)
_FOLDS = 3
_NEIGHBOURS = 5


@dataclass(frozen=True)
class Rows:
    """Features with labels.

    Attributes
    ----------
    features : ndarray, shape (n, d), float
    labels : ndarray, shape (n, p), bool
        Patterns of every cell; one or several.
    fields : ndarray, shape (n,), integer
        The field of every cell.
    """

    features: NDArray[Any]
    labels: NDArray[np.bool_]
    fields: NDArray[np.integer[Any]]


def probe(train: Rows, test: Rows, patterns: Sequence[str]) -> dict[str, Any]:
    """Measure features by what simple classifiers read off them.

    Features are standardised on the training rows; the penalty of the ridge regression is chosen by
    cross-validation over their fields.

    Parameters
    ----------
    train, test : Rows
        No field has rows in both.
    patterns : sequence of str
        Names of the label columns.

    Returns
    -------
    dict
        `linear`: mean over the patterns of the share of single-pattern test cells that ridge
        regression finds; `linear_per_pattern`: that share for each, None where there are no such
        cells; `nearest`: the mean for 5 nearest neighbours; `auc`: mean over the patterns of the
        area under the ROC curve of ridge regression on all cells, composite ones too.
    """
    from sklearn.linear_model import Ridge
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train.features)
    seen, unseen = scaler.transform(train.features), scaler.transform(test.features)
    ridge = GridSearchCV(
        Ridge(), {"alpha": _ALPHAS}, cv=GroupKFold(_FOLDS), scoring="neg_mean_squared_error"
    )
    ridge.fit(seen, train.labels.astype(np.float32), groups=train.fields)
    scores = np.asarray(ridge.predict(unseen))
    one_train, one_test = train.labels.sum(axis=1) == 1, test.labels.sum(axis=1) == 1
    truth = test.labels[one_test].argmax(axis=1)
    neighbours = KNeighborsClassifier(_NEIGHBOURS).fit(
        seen[one_train], train.labels[one_train].argmax(axis=1)
    )
    linear = recalls(truth, scores[one_test].argmax(axis=1), len(patterns))
    nearest = recalls(truth, neighbours.predict(unseen[one_test]), len(patterns))
    return {
        "linear": round(float(np.nanmean(linear)), 4),
        "linear_per_pattern": {
            name: None if np.isnan(share) else round(float(share), 3)
            for name, share in zip(patterns, linear, strict=True)
        },
        "nearest": round(float(np.nanmean(nearest)), 4),
        "auc": round(float(roc_auc_score(test.labels, scores, average="macro")), 4),
    }


def recalls(
    truth: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], classes: int
) -> NDArray[np.float64]:
    """Return the share of every class that was found; NaN for a class without rows.

    Parameters
    ----------
    truth, predicted : ndarray, shape (n,), integer
        Class numbers.
    classes : int

    Returns
    -------
    ndarray, shape (classes,), float64
    """
    rows = np.bincount(truth, minlength=classes)
    found = np.bincount(truth[truth == predicted], minlength=classes)
    return np.divide(found, rows, out=np.full(classes, np.nan), where=rows > 0)
