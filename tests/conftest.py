"""What every test gets: one thread, fixed seeds, checked shapes, and no network.

MEZZOTINT_SHAPES=0 switches the shape checks off. They cost a tiny model half its time again, a
real one little; what is timed is started as a process of its own, which is not checked.
"""

import os
import random
import socket
import sys

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

if os.environ.get("MEZZOTINT_SHAPES", "1") != "0":
    from jaxtyping import install_import_hook

    from tests import shapes

    # Before the first import of mezzotint: its shapes are then checked at every call.
    install_import_hook("mezzotint", f"{shapes.__name__}.check")

# The same examples each time, and no stopwatch: this machine may be busy.
settings.register_profile("mezzotint", derandomize=True, deadline=None)
settings.load_profile("mezzotint")

LOCAL = {"localhost", "127.0.0.1", "::1", "0.0.0.0", ""}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow = pytest.mark.skip(reason="slow: runs with --slow")
    gpu = pytest.mark.skip(reason="no CUDA device")
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(slow)
        if "gpu" in item.keywords and not _has_gpu():
            item.add_marker(gpu)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session", autouse=True)
def exact() -> None:
    """Full float32 on one thread, also where the hardware offers less."""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


@pytest.fixture(autouse=True)
def seed() -> int:
    """Seed the global generators, which only initialisation may use; returns the seed."""
    random.seed(0)
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(0)
    return 0


@pytest.fixture(scope="session", autouse=True)
def no_network():
    """Refuse every connection that leaves this machine."""
    connect = socket.socket.connect

    def local_only(self, address):
        if isinstance(address, tuple) and address[0] not in LOCAL:
            raise PermissionError(f"a test tried to reach {address[0]}")
        return connect(self, address)

    socket.socket.connect = local_only  # type: ignore[method-assign, assignment]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]
