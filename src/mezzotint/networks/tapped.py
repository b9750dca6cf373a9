"""What a layer inside of a network puts out, whatever the network is."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from mezzotint.config import nearest
from mezzotint.errors import ConfigError


@dataclass(frozen=True)
class Tapped:
    """A network that answers with the output of one of its layers.

    Args:
        network: the network.
        layer: dotted name of a module inside, as `network.named_modules()` has it.
        before: what is done to the input first.

    Raises:
        ConfigError: there is no layer of this name.
    """

    network: nn.Module
    layer: str
    before: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        known = [name for name, _ in self.network.named_modules() if name]
        if self.layer not in known:
            raise ConfigError(f"no layer {self.layer!r}; {nearest(self.layer, known)}")

    def __call__(self, x: Tensor) -> Tensor:
        """Return what the layer puts out; if it is passed twice, the last of it.

        Raises:
            ConfigError: the network does not pass the layer, or it puts out no tensor.
        """
        heard: list[object] = []
        hook = self.network.get_submodule(self.layer).register_forward_hook(
            lambda _module, _given, out: heard.append(out)
        )
        try:
            self.network(x if self.before is None else self.before(x))
        finally:
            hook.remove()
        if not heard or not isinstance(heard[-1], Tensor):
            raise ConfigError(f"layer {self.layer!r} put out no tensor; choose another layer")
        return heard[-1]


__all__ = ["Tapped"]
