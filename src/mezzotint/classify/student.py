"""Quantiles of Student's t with whole degrees of freedom, from the closed form of its integral.

With theta = atan(t / sqrt(n)), P(|T| < t) is, for odd n, 2/pi (theta + sin theta (cos theta + 2/3
cos^3 theta + ...)), and for even n, sin theta (1 + 1/2 cos^2 theta + ...); Abramowitz & Stegun,
26.7.3 and 26.7.4.
"""

import math
from functools import cache
from statistics import NormalDist
from typing import Final

_NORMAL: Final = 400
"""Degrees of freedom from which on the normal quantile, expanded once, is exact to 1e-4."""


def within(t: float, freedom: int) -> float:
    """Return P(|T| < t) for t >= 0.

    Args:
        t: bound.
        freedom: degrees of freedom, 1 or more.
    """
    theta = math.atan(t / math.sqrt(freedom))
    sin, cos = math.sin(theta), math.cos(theta)
    odd = freedom % 2
    term, total = (cos if odd else 1.0), 0.0
    for k in range(odd + 2, freedom + 1, 2):
        total += term
        term *= cos**2 * (k - 1) / k
    return 2 / math.pi * (theta + sin * total) if odd else sin * total


@cache
def quantile(tail: float, freedom: int) -> float:
    """Return the t that T exceeds with probability `tail`.

    Args:
        tail: in (0, 1/2].
        freedom: degrees of freedom, 1 or more.
    """
    if freedom >= _NORMAL:
        z = -NormalDist().inv_cdf(tail)
        return z + (z**3 + z) / (4 * freedom)
    low, high = 0.0, 1.0
    while (1 - within(high, freedom)) / 2 > tail and high < 1e12:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 - within(middle, freedom)) / 2 > tail else (low, middle)
    return high


__all__ = ["quantile", "within"]
