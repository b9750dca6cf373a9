"""How weights begin: drawn uniformly after Glorot & Bengio with biases at 0, or all at 0."""

from collections.abc import Iterable

from torch import nn


def xavier(layers: Iterable[nn.Linear | nn.Conv2d]) -> None:
    """Draw weights within sqrt(6 / (fan in + fan out)); biases are 0.

    Args:
        layers: in the order in which they are drawn; a convolution's fans count its kernel.
    """
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def linear(network: nn.Module) -> Iterable[nn.Linear]:
    """Yield the linear layers of a network."""
    return (layer for layer in network.modules() if isinstance(layer, nn.Linear))


def zero(*layers: nn.Module) -> None:
    """Let all parameters of some layers begin at 0."""
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
