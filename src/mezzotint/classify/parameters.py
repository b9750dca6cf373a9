"""scikit-learn's rules for parameters, without scikit-learn."""

import inspect
from typing import Any, Self, TypedDict, Unpack

from mezzotint.classify.contest import Draws
from mezzotint.classify.measures import Measure
from mezzotint.classify.schedules import Schedule
from mezzotint.errors import ConfigError


class Settings(TypedDict, total=False):
    """Settings of a classifier; see `DiffusionClassifier`.

    Attributes:
        schedule: how often each class is looked at.
        measure: in what the classes compete.
        draws: of noise.
        batch: rows that the denoiser gets at a time.
        seconds: time for an image, on average.
    """

    schedule: Schedule
    measure: Measure
    draws: Draws
    batch: int
    seconds: float | None


class Parameters:
    """scikit-learn's rules for parameters: the arguments of `__init__`, kept as they came."""

    def get_params(self, *, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name.

        Args:
            deep: ask parts that have parameters of their own, as "part__name".
        """
        names = [n for n in inspect.signature(type(self).__init__).parameters if n != "self"]
        found = {name: getattr(self, name) for name in sorted(names)}
        for name, value in list(found.items()) if deep else []:
            if hasattr(value, "get_params") and not isinstance(value, type):
                found |= {f"{name}__{k}": v for k, v in value.get_params().items()}
        return found

    def set_params(self, **params: Unpack[Settings]) -> Self:
        """Change parameters.

        Raises:
            ConfigError: there is no such parameter.
        """
        known = self.get_params(deep=False)
        for name, value in params.items():
            first, _, rest = name.partition("__")
            if first not in known:
                raise ConfigError(
                    f"Invalid parameter {first!r} for estimator {type(self).__name__}; expected "
                    f"one of: {', '.join(known)}"
                )
            if rest:
                getattr(self, first).set_params(**{rest: value})
            else:
                setattr(self, first, value)
        return self

    def __repr__(self) -> str:
        default = {n: p.default for n, p in inspect.signature(type(self)).parameters.items()}
        given = self.get_params(deep=False)
        changed = [f"{n}={v!r}" for n, v in given.items() if repr(v) != repr(default[n])]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_clone__(self) -> Self:
        """Return an unfitted copy that shares the parts, so that no network is copied."""
        return type(self)(**self.get_params(deep=False))


__all__ = ["Parameters", "Settings"]
