"""How tokens are revealed, as a recipe and a checkpoint say it: stages, order, guidance, reuse."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from mezzotint import config
from mezzotint.config import Config, part
from mezzotint.errors import ConfigError
from mezzotint.masked.curves import Along, Flat
from mezzotint.masked.heads import HeadPart
from mezzotint.masked.order import Order, Random
from mezzotint.masked.plan import Masked, Plan, Reveal, single


class MaskedSampling(Config):
    """How tokens are revealed; part of a checkpoint, because published figures depend on it.

    Attributes:
        steps: stages of the plan.
        reveal: how many tokens each stage reveals.
        order: which ones.
        guidance: classifier-free guidance scale along the plan; 1 is the conditional model.
        reuse: light passes that follow each full one (ReCAP); 0 makes every pass a full one.
        after: stages at the start that keep a full pass each.
        head: changes to the model's head, such as {temperature: 0.95}.
        ranker: the head whose draws are ranked by, and then drawn afresh (NAT); None ranks the
            tokens that are written.
        lagging, again: see `MaskedGenerator`.
    """

    steps: int = Field(default=16, ge=1)
    reveal: Annotated[Reveal, part("reveal")] = Masked()
    order: Annotated[Order, part("order")] = Random()
    guidance: Annotated[Along, part("along")] = Flat(1.0)
    reuse: int = Field(default=0, ge=0)
    after: int = Field(default=0, ge=0)
    head: Mapping[str, Any] = Field(default_factory=dict)
    ranker: Annotated[HeadPart | None, part("head")] = None
    lagging: bool = False
    again: bool = False

    def plan(self, total: int) -> Plan:
        """Return the plan that reveals so many tokens."""
        return single(self.reveal(total, self.steps)).regrouped(self.reuse, self.after)

    def scaled(self, scale: float) -> Along:
        """Return the guidance with another scale at its end and the same shape along the plan."""
        if not hasattr(self.guidance, "to"):
            raise ConfigError(f"guidance {self.guidance!r} has no scale to set")
        found: Along = self.guidance.to(scale)
        return found

    def head_of(self, model: HeadPart) -> HeadPart:
        """Return a model's head with the changes that are asked for here.

        Raises:
            ConfigError: it has no such setting, or cannot tell what the order looks at.
        """
        if self.order.looks and not getattr(self.ranker or model, "tells", True):
            raise ConfigError(
                "sampling.order: it looks at how sure the head is of each token, which this head "
                "cannot tell; use random, raster or halton"
            )
        own = config.dump(model)
        if self.head.get("kind", own["kind"]) != own["kind"]:
            raise ConfigError(
                f"sampling.head: the model's head is {own['kind']}, not {self.head['kind']}; its "
                "settings can be changed here, and not its kind"
            )
        return config.load_at("sampling.head", "head", merged(own, self.head))


def merged(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree with changes laid over it; a part that names its kind is another one."""
    found = dict(tree)
    for name, value in changes.items():
        own = found.get(name)
        deep = isinstance(own, Mapping) and isinstance(value, Mapping) and "kind" not in value
        found[name] = merged(own, value) if deep else value  # type: ignore[arg-type]
    return found


__all__ = ["MaskedSampling"]
