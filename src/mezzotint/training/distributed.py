"""The one place that knows ranks. Without torchrun there is one, and all of this is nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from mezzotint.noise import mix


@dataclass(frozen=True)
class Ranks:
    """This process among all.

    Attributes:
        rank: number of this process.
        count: number of processes.
        device: where this process computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def share(self, module: nn.Module) -> nn.Module:
        """Return a module whose gradients are averaged over the ranks."""
        if self.count == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids)

    def gather(self, rows: Shaped[Tensor, "b"]) -> Shaped[Tensor, "all"]:
        """Return the rows of every rank, in the order of the ranks, on the CPU."""
        if self.count == 1:
            return rows.cpu()
        here = rows.to(self.device)
        parts = [torch.empty_like(here) for _ in range(self.count)]
        dist.all_gather(parts, here)
        return torch.cat(parts).cpu()

    def total(self, values: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """Return the sum over the ranks, on the CPU."""
        if self.count == 1:
            return values
        # NCCL adds on CUDA devices alone, gloo on the CPU alone; both know float64.
        here = values.to(self.device if self.device.type == "cuda" else "cpu")
        dist.all_reduce(here)
        return here.cpu()

    @contextmanager
    def seeded(self, *numbers: int) -> Iterator[None]:
        """Seed the global generators, which dropout draws from, and put them back afterwards."""
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(cuda):
            torch.manual_seed(mix(*numbers, self.rank))
            yield

    def wait(self) -> None:
        """Wait until every rank is here."""
        if self.count > 1:
            dist.barrier()

    def agree(self, flag: bool) -> bool:  # noqa: FBT001 (the subject, not an option)
        """Return whether any rank says yes."""
        if self.count == 1:
            return flag
        votes = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(votes)
        return bool(votes > 0)


@contextmanager
def ranks(device: str) -> Iterator[Ranks]:
    """Join the group that torchrun has announced in the environment, and leave it at the end.

    Args:
        device: "cpu", "cuda" or "mps"; under torchrun each process takes its local CUDA device.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks(0, 1, torch.device(device))
        return
    local = int(os.environ["LOCAL_RANK"])
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        where = torch.device("cuda", local) if cuda else torch.device(device)
        yield Ranks(dist.get_rank(), count, where)
    finally:
        dist.destroy_process_group()
