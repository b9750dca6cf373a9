"""Adapting an off-the-shelf classifier to a generator's noise: PPAP as a whole, without a label.

    for at in Adapting.of("emoji-guide", "emoji-dit", ExpertPlan(), folder).run(): ...

draws images, trains an expert a range of noise, and writes a folder that is a critic. The same
again goes on after the last expert that was finished, bit for bit on a CPU.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Final, NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from mezzotint import adapter_files, checkpoint, config, generator
from mezzotint.classifier import Classifier
from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.diffusion.guidance import Unconditional
from mezzotint.diffusion.routing import path_of
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.experts import ExpertSetConfig, Source, about, belongings
from mezzotint.files import replace_file
from mezzotint.generator import Generator
from mezzotint.judges import EXPERTS
from mezzotint.networks.adapters import trained_share
from mezzotint.noise import mix
from mezzotint.off_the_shelf import PREFIX, open_classifier
from mezzotint.steering import Resized
from mezzotint.training.experts import ExpertPlan, Transfer

POOL: Final = "pool.safetensors"
"""The images that the generator drew."""
MOMENTS: Final = "moments.safetensors"
"""What the next expert needs of Adam, until the last one is finished."""


class Progress(NamedTuple):
    """Where adapting stands: what is done, of how much, and the last number."""

    what: str
    done: int
    total: int
    loss: float | None


@dataclass(frozen=True)
class Unlabelled(Generator):
    """A generator that is asked about its null class, or has none and forgets what it drew."""

    @property
    def guided(self) -> Denoiser:
        """The denoiser without a condition."""
        if not self.classes or self.null is None:
            return self.denoiser
        return Unconditional(self.denoiser, self.null)


@dataclass
class Adapting:
    """Experts in the making, in their folder; the same again goes on after the last one finished.

    Args:
        base: the classifier.
        maker: the generator.
        plan: how.
        folder: where.
        sources: where classifier and generator are.
        device: where it computes.
    """

    base: Classifier
    maker: Generator
    plan: ExpertPlan
    folder: FilePath
    sources: tuple[Source, Source]
    device: torch.device = torch.device("cpu")

    @classmethod
    def of(
        cls,
        classifier_source: str,
        generator_source: str,
        plan: ExpertPlan,
        folder: FilePath | str,
        device: str | torch.device = "cpu",
    ) -> "Adapting":
        """Open classifier and generator by name, folder or file. There is no place for labels."""
        base = open_classifier(classifier_source)
        maker = generator.load(generator_source).to(device)
        path_of(maker.denoiser)  # refuses what has none before anything is drawn
        named = ((classifier_source, base.digest), (generator_source, maker.digest))
        one, other = (Source(source=_placed(name), digest=digest) for name, digest in named)
        return cls(base, maker, plan, FilePath(folder), (one, other), torch.device(device))

    def run(self) -> Iterator[Progress]:
        """Draw the images, train the experts one by one, and write each when it is finished.

        Raises:
            ConfigError: the folder holds experts of another plan.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        done = self._begun()
        yield from self._draw()
        pool = checkpoint.read_tensors(self.folder / POOL)[0]["images"]
        transfer = self.transfer(pool)
        if 0 < done < self.plan.experts and self.plan.warm:
            self._take_up(transfer, done - 1)
        for number in range(done, self.plan.experts):
            for step, loss in enumerate(transfer.expert(number), 1):
                yield Progress(f"expert {number + 1}", step, self.plan.steps, loss)
            self._keep(transfer, number)
        (self.folder / MOMENTS).unlink(missing_ok=True)

    def transfer(self, images: UInt8[Tensor, "n 3 h w"]) -> Transfer:
        """Return the training on these images."""
        tokenizer, network = self.maker.tokenizer, self.base.network
        size = self.base.tokenizer.spec.image
        resized = size != tokenizer.spec.image

        def view(x: Tensor) -> Tensor:
            seen = tokenizer.floats(x)
            return Resized(size)(seen) if resized else seen

        return Transfer(
            network, images, tokenizer, self.maker.denoiser.path, view, self.plan, self.device
        )

    def _begun(self) -> int:
        """Return how many experts of this very plan are finished."""
        if not (self.folder / EXPERTS).exists():
            return 0
        before = about(self.folder)
        same = (before.classifier, before.generator, before.plan)
        if same != (*self.sources, self.plan):
            raise ConfigError(
                f"{self.folder} holds experts of another classifier, generator or plan; choose "
                "another --out, or --force to move them aside"
            )
        return before.done

    def _draw(self) -> Iterator[Progress]:
        """Draw the images in blocks that a seed each fixes, 8 bits a channel as published."""
        path, count = self.folder / POOL, self.plan.images
        if path.exists():
            return
        own = {name: getattr(self.maker, name) for name in Generator.__dataclass_fields__}
        blind = Unlabelled(**own).with_sampling(steps=self.plan.sampling_steps)
        seeds = [mix(self.plan.seed, 29, k) for k in range(count)]
        # Without a null class any class is drawn, and which one it was is forgotten.
        labels = [mix(seed, 2) % max(1, len(self.maker.classes)) for seed in seeds]
        drawn: list[Tensor] = []
        for images in blind.stream(labels, seeds):
            drawn.append(images)
            yield Progress("images", sum(map(len, drawn)), count, None)
        checkpoint.write_tensors(path, {"images": torch.cat(drawn)}, {"seed": self.plan.seed})

    def _keep(self, transfer: Transfer, number: int) -> None:
        """Write an expert, what the next one needs, and only then that it is finished."""
        folder = self.folder / str(number)
        where = self.sources[0].source
        adapter_files.write(folder, transfer.student, transfer.adapter, transfer.taken(), where)
        moments = {
            f"{index}/{name}": tensor
            for index, entry in transfer.optimiser.state_dict()["state"].items()
            for name, tensor in entry.items()
        }
        checkpoint.write_tensors(self.folder / MOMENTS, moments, {"expert": number})
        said = ExpertSetConfig(
            classifier=self.sources[0],
            generator=self.sources[1],
            path=self.maker.denoiser.path,
            adapter=transfer.adapter,
            plan=self.plan,
            share=trained_share(transfer.student),
            done=number + 1,
        )
        replace_file(self.folder / EXPERTS, lambda draft: config.write_json(draft, said))

    def _take_up(self, transfer: Transfer, number: int) -> None:
        """Put back the last expert that was finished, and Adam's moments after it."""
        wanted = belongings(self.base.network, transfer.adapter)
        transfer.put_back(adapter_files.read(self.folder / str(number), wanted))
        tensors, note = checkpoint.read_tensors(self.folder / MOMENTS)
        if note.get("expert") != number:
            raise CheckpointError(
                f"{self.folder / MOMENTS}: not of expert {number}; adapt anew with --force"
            )
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            index, _, name = key.partition("/")
            state.setdefault(int(index), {})[name] = tensor
        groups = transfer.optimiser.state_dict()["param_groups"]
        transfer.optimiser.load_state_dict({"state": state, "param_groups": groups})


def _placed(source: str) -> str:
    kept = source in checkpoint.zoo() or source.startswith(PREFIX)
    return source if kept else str(FilePath(source).resolve())


__all__ = ["Adapting", "Progress", "Unlabelled"]
