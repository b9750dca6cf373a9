"""mezzotint: images of a class, from one set of small parts that compose."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mezzotint.generator import Generator as Generator
    from mezzotint.generator import load as load

__version__ = "0.1.0"
__all__ = ["Generator", "__version__", "load"]


def __getattr__(name: str) -> object:
    """Import torch only when something that needs it is asked for."""
    if name in {"Generator", "load"}:
        from mezzotint import generator

        return getattr(generator, name)
    raise AttributeError(f"module 'mezzotint' has no attribute {name!r}")
