"""What the estimators share: checks of their parameters, and saving as plain arrays."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from anabatch.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def check_integers(values: Mapping[str, Any], least: int) -> None:
    """Refuse what is not an integer of at least `least`.

    Parameters
    ----------
    values : mapping of str to object
        By the parameters' names.
    least : int

    Raises
    ------
    ConfigurationError
        Names the first parameter that is wrong.
    """
    for name, value in values.items():
        if not isinstance(value, numbers.Integral) or value < least:
            what = f"{name} is {value!r}, and must be an integer of at least {least}"
            raise ConfigurationError(what)


class ArraysMixin:
    """Saves a scikit-learn estimator as arrays, without pickling.

    A class names its learned attributes in stages, each stage following the one before it. An
    estimator that is fitted halfway has the first stages only, and can be saved too.
    """

    _state_stages: ClassVar[tuple[tuple[str, ...], ...]]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return parameters and state as arrays, for :func:`numpy.savez`.

        Returns
        -------
        dict of str to ndarray
            Numbers and words are arrays of no dimension.
        """
        state = [name for stage in self._state_stages if hasattr(self, stage[0]) for name in stage]
        return {name: np.asarray(getattr(self, name)) for name in (*_parameters(self), *state)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make an estimator of what :meth:`to_arrays` returned, or of the file that holds it.

        Parameters
        ----------
        arrays : mapping of str to ndarray

        Returns
        -------
        estimator

        Raises
        ------
        ConfigurationError
            Arrays are missing, or there are others.
        """
        parameters = _parameters(cls())
        state = [name for stage in cls._state_stages if stage[0] in arrays for name in stage]
        if odd := {*parameters, *state} ^ set(arrays):
            what = (
                f"these arrays are no {cls.__name__}: {', '.join(sorted(odd))} missing or unknown"
            )
            raise ConfigurationError(what)
        estimator = cls(**{name: arrays[name].item() for name in parameters})
        for name in state:
            value = np.asarray(arrays[name])
            setattr(estimator, name, value if value.ndim else value.item())
        return estimator


def _parameters(estimator: Any) -> tuple[str, ...]:
    return tuple(estimator.get_params())
