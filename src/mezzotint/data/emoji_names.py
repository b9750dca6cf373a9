"""Which emoji is it? Seven icon sets spell the same characters in seven ways.

An emoji is known by its *key*: the code points in lower-case hex without leading zeros and without
the variation selector, joined by "-". Sets that name their drawings ("beaming-face") are read
through every known spelling of the name, reduced to letters and digits.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

VARIATION_SELECTOR = "fe0f"
TONES = {
    "1f3fb": ("light-skin-tone", "light"),
    "1f3fc": ("medium-light-skin-tone", "medium-light"),
    "1f3fd": ("medium-skin-tone", "medium"),
    "1f3fe": ("medium-dark-skin-tone", "medium-dark"),
    "1f3ff": ("dark-skin-tone", "dark"),
}

# Mozilla's set (fxemoji) names its drawings freely; these are the ones worth having.
FXEMOJI = {
    "1f43b": "bear", "1f697": "automobile", "1f47c": "babyangel", "1f37a": "beermug",
    "1f6b2": "bicycle", "1f471": "blonde", "1f430": "bunny", "1f407": "bunnyside",
    "1f46f": "bunny-ears", "1f431": "cat", "1f408": "catside", "1f336": "chilipepper",
    "1f1e8-1f1f3": "chineseflag", "1f404": "cow", "1f42e": "cowface", "1f436": "dog",
    "1f415": "dogside", "1f432": "dragonhead", "1f409": "dragonside", "1f332": "evergreen",
    "1f46a": "family", "270a": "fistedhand", "1f4aa": "flexbicep", "1f638": "foxgrin",
    "1f63f": "foxcrying", "1f63b": "foxheart", "1f63d": "foxkissing", "1f63e": "foxpouting",
    "1f63a": "foxsmiling", "1f639": "foxtearofjoy", "1f640": "foxweary", "1f63c": "foxwry",
    "1f1eb-1f1f7": "franceflag", "1f1ec-1f1e7": "greatbritainflag", "1f1ee-1f1f9": "italianflag",
    "1f1f0-1f1f7": "koreaflag", "1f1f7-1f1fa": "russianflag", "1f1ea-1f1f8": "spanishflag",
    "1f499": "heartblue", "1f49a": "heartgreen", "1f49c": "heartpurple", "1f49b": "heartyellow",
    "1f498": "heartarrow", "1f49d": "heartribbon", "1f495": "2hearts", "2764": "heavyblackheart",
    "1f44c": "aok", "1f64f": "high5", "1f590": "raisedhandsfingerssplayed",
    "1f596": "raisedhandpartfingers", "1f595": "reversehandmiddlefinger", "270d": "leftwritinghand",
    "1f448": "blackleftpointingbackhand", "1f449": "blackrightpointingbackhand",
    "1f446": "blackuppointingbackhand", "1f447": "blackdownpointingbackhand",
    "1f625": "dissapointedrelief", "1f627": "anguish", "2639": "frown", "1f622": "crying",
    "1f62d": "loudlycrying", "1f601": "grineyes", "1f606": "grinsquint", "1f605": "grinsweat",
    "1f602": "grintears", "1f604": "grinwideeyes", "1f603": "grinwide", "1f61a": "kissclosedeyes",
    "1f619": "kisseyes", "1f637": "medicalmask", "1f610": "neutral", "1f623": "perservere",
    "1f621": "pout", "1f631": "screamfear", "1f60a": "smileeyes", "1f60b": "smiletongue",
    "1f62b": "tired", "1f61b": "tongueout", "1f61c": "tongueoutwink", "1f607": "halo",
    "1f5ff": "moyai", "1f437": "pig", "1f416": "pigside", "1f405": "tigerside", "1f42f": "tiger",
    "1f406": "leopardside", "1f401": "mouseside", "1f42d": "mouse", "1f439": "hampster",
    "1f649": "monkeyhear", "1f648": "monkeysee", "1f64a": "monkeyspeak",
    "1f425": "frontfacingchick",
    "1f433": "spurtingwhale", "1f421": "blowfish", "1f341": "mapleleaf", "1f342": "fallingleaf",
    "1f343": "leaffluttering", "1f490": "bouquetofflowers", "1f3f5": "blackrosette",
    "1f475": "gma", "1f474": "gpa", "1f470": "bride", "1f472": "guapimao", "1f647": "bowing",
    "1f645": "nogesture", "1f646": "okgesture", "1f477": "construct", "1f575": "sleuthspy",
    "1f45e": "mensshoe", "1f454": "tie", "1f45f": "runningshoe", "1f460": "heels",
    "1f45a": "womensclothes", "1f455": "mansshirt", "1f461": "sandals", "1f45d": "pouch",
    "1f685": "highspeedtrainbulletnose", "1f3ce": "racecar", "2615": "hotbeverage",
    "1f570": "manltepiececlock", "1f55b": "clock12oclock", "1f567": "clock12thirty",
    "1f550": "clock1oclock", "1f55c": "clock1thirty", "1f551": "clock2oclock",
    "1f55d": "clock2thirty", "1f552": "clock3oclock", "1f55e": "clock3thirty",
    "1f553": "clock4oclock", "1f55f": "clock4thirty", "1f560": "clock5thirty",
    "1f555": "clock6oclock", "1f561": "clock6thirty", "1f556": "clock7oclock",
    "1f51e": "nooneunder18symbol", "2650": "saggitarius", "1f170": "negativesquaredlatincaptiala",
    "1f171": "negativesquaredlatincaptialb", "1f17e": "negativesquaredlatincaptialo",
    "1f6b0": "potablewatersystem",
}  # fmt: skip


@dataclass(frozen=True)
class Emoji:
    """One character of the Unicode table, with every name it goes by."""

    key: str
    name: str
    group: str
    subgroup: str
    names: frozenset[str] = field(repr=False, default=frozenset())
    tones: Mapping[str, str] = field(repr=False, default_factory=dict)  # tone -> key


def key_of(spelling: str) -> str:
    """Return the key of a code point sequence such as "1F468-200D-2708-FE0F" or "00a9"."""
    parts = (p.lower().lstrip("0") for p in re.split(r"[-_ ]", spelling))
    return "-".join(p for p in parts if p and p != VARIATION_SELECTOR)


def plain(name: str) -> str:
    """Reduce a name to letters and digits, with symbols spelled out."""
    name = (
        re.sub(r"^flag-for-(flag-)?", "flag-", name.lower())
        .replace("&", "and")
        .replace("+1", "plusone")
        .replace("-1", "minusone")
    )
    return re.sub(r"[^a-z0-9]", "", name)


def unicode_table(records: Iterable[Mapping[str, Any]]) -> dict[str, Emoji]:
    """Read `emoji.json` of the npm package emoji-datasource into key -> Emoji."""
    table = {}
    for record in sorted(records, key=lambda r: int(r["sort_order"])):
        key = key_of(record["unified"])
        known = [record["name"] or "", *record["short_names"]]
        table[key] = Emoji(
            key=key,
            name=record["short_name"],
            group=record["category"],
            subgroup=record["subcategory"],
            names=frozenset(plain(n) for n in known if n),
            tones={
                tone: key_of(variant["unified"])
                for tone, variant in record.get("skin_variations", {}).items()
                if "-" not in tone
            },
        )
    return table


@dataclass(frozen=True)
class Speller:
    """Finds the key behind a drawing's name.

    The tables of sets that give code points (`chars.json`) teach the names that Unicode's own list
    (CLDR) uses; they come first, because emoji-datasource's names are older.
    """

    by_name: Mapping[str, str]

    @classmethod
    def taught(
        cls,
        table: Mapping[str, Emoji],
        chars: Iterable[Mapping[str, str]],
        aliases: Iterable[Mapping[str, str]],
    ) -> "Speller":
        """Learn names from the Unicode table, `chars.json` files and alias -> name tables."""
        names: dict[str, str] = {}
        for spelled in chars:
            for codes, name in spelled.items():
                names.setdefault(plain(name), key_of(codes))
        for alias in aliases:
            for other, name in alias.items():
                if plain(name) in names:
                    names.setdefault(plain(other), names[plain(name)])
        for emoji in table.values():
            for name in sorted(emoji.names):
                names.setdefault(name, emoji.key)
        return cls(names)

    def key(self, name: str, own: Mapping[str, str]) -> str | None:
        """Return the key of `name`, by the set's own table of code points or names first."""
        if name in own:
            return own[name]
        return self.by_name.get(plain(name))


__all__ = ["FXEMOJI", "TONES", "Emoji", "Speller", "key_of", "plain", "unicode_table"]
