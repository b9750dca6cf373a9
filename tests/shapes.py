"""The run-time checker of shapes: beartype, on the annotations that speak of arrays.

The others are mypy's: beartype would refuse protocols, `Self` and pydantic's generics. Sums such as
"n+1" inform the reader; they cannot be checked where no argument has the length n.
"""

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function`, checking its arrays at each call."""
    arrays = {k: hint for k, hint in function.__annotations__.items() if has_array(hint)}
    if not arrays:
        return function
    function.__annotations__ = arrays
    return beartype(function)


def has_array(hint: object) -> bool:
    """Tell whether a hint is, or holds, a shape annotation that can be checked."""
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return "+" not in hint.dim_str
    parts = hint if isinstance(hint, list) else get_args(hint)  # a list: arguments of a Callable
    return any(has_array(part) for part in parts)
