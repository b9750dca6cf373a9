"""Where to look next: Optuna, told everything that the log holds.

A proposal depends on the log, the seed and its own number alone, so a search that was stopped goes
on as it would have.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mezzotint.errors import MissingExtraError
from mezzotint.noise import mix
from mezzotint.tune.log import Look
from mezzotint.tune.space import Axis, Params, Range


def check_installed() -> None:
    """Refuse to begin without Optuna.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise MissingExtraError("optuna", "tune") from None


def proposal(looks: Sequence[Look], axes: Mapping[str, Axis], *, seed: int, number: int) -> Params:
    """Return a point that promises to be fast and good.

    Args:
        looks: of one stage, so that distances compare.
        axes: what varies.
        seed: of the search.
        number: of the trial.

    Raises:
        MissingExtraError: Optuna is not installed.
    """
    check_installed()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=mix(seed, number) % 2**31, n_startup_trials=8)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    scales = {name: _distribution(axis) for name, axis in axes.items()}
    for look in looks:
        if look.params and look.distance is not None:
            params = {name: look.params[name] for name in scales}
            values = [look.ratio, look.value]
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=scales, values=values)
            )
    return dict(study.ask(scales).params)


def _distribution(axis: Axis) -> Any:
    import optuna

    if not isinstance(axis, Range):
        return optuna.distributions.CategoricalDistribution(axis)
    if axis.whole:
        return optuna.distributions.IntDistribution(int(axis.low), int(axis.high), log=True)
    return optuna.distributions.FloatDistribution(axis.low, axis.high, step=axis.step or None)


__all__ = ["check_installed", "proposal"]
