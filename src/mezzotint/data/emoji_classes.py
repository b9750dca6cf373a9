"""What is in an emoji picture: Unicode's subgroups gathered into classes that can be told apart.

Classes that a person and a small classifier confuse at 32 pixels are merged or left out; how that
was decided is in docs/data.md. Names are the short names of emoji-datasource.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from mezzotint.data.emoji_names import TONES, Emoji

SALT = "mezzotint emoji split 1"
HELD_OUT = 0.12


@dataclass(frozen=True)
class Gathering:
    """A class as subgroups to take, minus some emoji, plus some others."""

    subgroups: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    plus: frozenset[str] = frozenset()

    def has(self, emoji: Emoji) -> bool:
        """Say whether the emoji belongs to the class."""
        if emoji.name in self.plus:
            return True
        return emoji.subgroup in self.subgroups and emoji.name not in self.without


def words(text: str) -> frozenset[str]:
    """Split a text into names."""
    return frozenset(text.split())


CLASSES: Mapping[str, Gathering] = {
    "face": Gathering(
        words(
            "face-smiling face-affection face-tongue face-neutral-skeptical face-sleepy "
            "face-unwell face-glasses face-concerned face-negative face-hand face-hat"
        ),
        without=words("skull skull_and_crossbones smiling_imp imp face_in_clouds"),
    ),
    "animal": Gathering(
        words("animal-mammal cat-face monkey-face animal-bird"),
        without=words("feet pig_nose feather wing hatching_chick"),
    ),
    "plant": Gathering(
        words("plant-flower plant-other"),
        without=words("rosette empty_nest nest_with_eggs mushroom"),
        plus=words("tanabata_tree"),
    ),
    "food": Gathering(
        words("food-fruit food-vegetable food-prepared food-asian food-sweet drink"),
        without=words("beans peanuts salt ice_cube pouring_liquid"),
    ),
    "vehicle": Gathering(
        words("transport-ground transport-water transport-air"),
        without=words(
            "busstop motorway railway_track oil_drum fuelpump wheel rotating_light traffic_light "
            "vertical_traffic_light octagonal_sign construction anchor ring_buoy parachute seat "
            "satellite manual_wheelchair motorized_wheelchair skateboard roller_skate metro station"
        ),
    ),
    "building": Gathering(
        words("place-building place-religious"),
        without=words("bricks rock wood wedding tokyo_tower statue_of_liberty kaaba"),
    ),
    "clock": Gathering(words("time"), without=words("hourglass hourglass_flowing_sand")),
    "flag": Gathering(
        words("country-flag subdivision-flag"),
        plus=words("waving_black_flag waving_white_flag rainbow-flag transgender_flag pirate_flag"),
    ),
    "heart": Gathering(
        words("heart"), without=words("love_letter heavy_heart_exclamation_mark_ornament")
    ),
    "hand": Gathering(
        words(
            "hand-fingers-open hand-fingers-partial hand-single-finger hand-fingers-closed hands "
            "hand-prop"
        ),
        without=words("selfie"),
    ),
    "person": Gathering(words("person person-role person-fantasy"), without=words("troll")),
    "sign": Gathering(
        words("zodiac av-symbol alphanum transport-sign arrow keycap religion warning"),
        without=words("back end on soon top"),
    ),
    "tool": Gathering(
        plus=words(
            "hammer axe pick hammer_and_pick hammer_and_wrench dagger_knife crossed_swords "
            "carpentry_saw wrench screwdriver pencil2 black_nib lower_left_fountain_pen "
            "lower_left_ballpoint_pen lower_left_paintbrush lower_left_crayon hocho key old_key"
        )
    ),
    "scene": Gathering(
        words("place-geographic"),
        plus=words(
            "night_with_stars cityscape sunrise_over_mountains sunrise city_sunset city_sunrise "
            "bridge_at_night foggy milky_way stars rice_scene"
        ),
    ),
}

# Emoji that are one thing in several colours, phases, directions or times of day share a concept,
# so that none of them can be in the training part while its twin is held out.
TWINS: Mapping[str, frozenset[str]] = {
    "plain heart": words(
        "heart pink_heart orange_heart yellow_heart green_heart blue_heart light_blue_heart "
        "purple_heart brown_heart black_heart grey_heart white_heart sparkling_heart"
    ),
    "two hearts": words("two_hearts revolving_hearts"),
    "pencil": words("pencil2 lower_left_crayon lower_left_ballpoint_pen"),
    "hammer and other": words("hammer_and_pick hammer_and_wrench"),
    "pointing hand": words("point_left point_right point_up_2 point_down"),
    "fist": words("left-facing_fist right-facing_fist facepunch fist"),
    "thumb": words("+1 -1"),
    "sideways hand": words(
        "rightwards_hand leftwards_hand leftwards_pushing_hand rightwards_pushing_hand"
    ),
    "flat hand": words("hand raised_back_of_hand raised_hand_with_fingers_splayed wave"),
    "sunset city": words("city_sunset city_sunrise cityscape"),
    "sunrise": words("sunrise sunrise_over_mountains"),
    "mountain": words("mountain snow_capped_mountain mount_fuji"),
    "island": words("desert_island beach_with_umbrella"),
    "apple": words("apple green_apple"),
    "citrus": words("lemon lime tangerine"),
    "clover": words("shamrock four_leaf_clover"),
    "rose": words("rose wilted_flower"),
    "leaf": words("fallen_leaf maple_leaf"),
    "mushroom": words("mushroom brown_mushroom"),
    "beer": words("beer beers"),
    "house": words("house house_with_garden house_buildings"),
    "city block": words("office hotel love_hotel hospital bank school convenience_store"),
    "post office": words("post_office european_post_office"),
    "bus": words("bus minibus trolleybus oncoming_bus"),
    "car": words(
        "car oncoming_automobile blue_car taxi oncoming_taxi police_car oncoming_police_car"
    ),
    "truck": words("truck articulated_lorry"),
    "aeroplane": words("airplane small_airplane airplane_departure airplane_arriving"),
    "rail car": words(
        "railway_car bullettrain_side bullettrain_front train2 light_rail tram monorail train "
        "mountain_railway suspension_railway"
    ),
    "cable car": words("mountain_cableway aerial_tramway"),
    "boat": words("speedboat motor_boat"),
    "dog": words("dog dog2 guide_dog service_dog"),
    "cat": words("cat cat2 black_cat"),
    "tiger": words("tiger tiger2 leopard"),
    "horse": words("horse racehorse"),
    "cow": words("cow cow2 ox water_buffalo"),
    "pig": words("pig pig2"),
    "mouse": words("mouse mouse2 rat hamster"),
    "rabbit": words("rabbit rabbit2"),
    "camel": words("camel dromedary_camel"),
    "monkey": words("monkey monkey_face"),
    "sheep": words("sheep ram"),
    "bear": words("bear polar_bear"),
    "chick": words("baby_chick hatched_chick"),
    "black bird": words("bird black_bird"),
    "goose": words("duck goose swan"),
    "santa": words("santa mrs_claus mx_claus"),
    "royal": words("prince princess person_with_crown"),
    "grown-up": words(
        "adult man woman person_with_blond_hair blond-haired-man blond-haired-woman "
        "bearded_person man_with_beard woman_with_beard older_adult older_man older_woman"
    ),
    "grin": words("grinning smiley smile grin laughing"),
    "giggle": words("face_with_hand_over_mouth face_with_open_eyes_and_hand_over_mouth"),
    "weary face": words("weary tired_face"),
    "cross": words("latin_cross orthodox_cross"),
    "key": words("key old_key"),
    "input sign": words("capital_abcd abcd 1234 symbols abc"),
    "child": words("child boy girl"),
    "play arrow": words(
        "arrow_forward arrow_backward fast_forward rewind arrow_up_small arrow_down_small "
        "arrow_double_up arrow_double_down black_right_pointing_double_triangle_with_vertical_bar "
        "black_left_pointing_double_triangle_with_vertical_bar eject "
        "black_right_pointing_triangle_with_double_vertical_bar"
    ),
    "arrow": words(
        "arrow_up arrow_upper_right arrow_right arrow_lower_right arrow_down arrow_lower_left "
        "arrow_left arrow_upper_left arrow_up_down left_right_arrow"
    ),
    "hooked arrow": words("leftwards_arrow_with_hook arrow_right_hook"),
    "heading arrow": words("arrow_heading_up arrow_heading_down"),
    "circling arrows": words("arrows_clockwise arrows_counterclockwise repeat repeat_one"),
    "brightness": words("low_brightness high_brightness"),
    "star of david": words("star_of_david six_pointed_star"),
    "pedestrian sign": words("mens womens restroom wc"),
    "prohibition": words(
        "no_entry_sign no_bicycles no_smoking do_not_litter non-potable_water no_pedestrians "
        "no_mobile_phones underage"
    ),
    "flag of Norway": words("flag-no flag-bv flag-sj"),
    "flag of France": words("fr flag-cp flag-mf flag-gp flag-bl flag-re flag-pm flag-yt flag-wf"),
    "flag of Australia": words("flag-au flag-hm flag-nz"),
    "flag of the United States": words("us flag-um"),
    "flag of Spain": words("es flag-ea"),
    "flag of Chad": words("flag-td flag-ro flag-md flag-ad"),
    "flag of Indonesia": words("flag-id flag-mc flag-sg"),
    "flag of Saint Helena": words("flag-sh flag-ac flag-ta"),
    "flag of Diego Garcia": words("flag-io flag-dg"),
    "flag of the Netherlands": words("flag-nl flag-bq flag-lu"),
    "flag of Mali": words("flag-ml flag-gn"),
    "flag of Ireland": words("flag-ie flag-ci"),
}
_CONCEPT_OF = {name: concept for concept, names in TWINS.items() for name in sorted(names)}
_CLOCK_FACE = re.compile(r"clock\d+")
_GENDER = re.compile(r"-200d-(2640|2642|27a1)")
_HAIR = re.compile(r"-200d-1f9b[0-3]$")


def class_of(emoji: Emoji) -> str | None:
    """Return the class of an emoji, or None where it is left out."""
    return next((name for name, gathering in CLASSES.items() if gathering.has(emoji)), None)


def concept_of(emoji: Emoji) -> str:
    """Return what all sexes, tones, colours, directions and times of one thing share."""
    if _CLOCK_FACE.fullmatch(emoji.name):
        return "clock face"
    if emoji.name in _CONCEPT_OF:
        return _CONCEPT_OF[emoji.name]
    key = _GENDER.sub("", emoji.key)
    neutral = re.sub(r"^1f46[89](?=-200d)", "1f9d1", key)
    return "grown-up" if _HAIR.search(neutral) else neutral


def held_out(concepts: Iterable[str]) -> frozenset[str]:
    """Choose the concepts of one class that are held out: about 12 % of its pictures.

    Args:
        concepts: the concept of every picture of the class, repeated as often as it occurs.

    Concepts come in the order of a hash, so the choice does not depend on the machine or on the
    order of the pictures; one that would take more than its share is passed over.
    """
    counts: dict[str, int] = {}
    for concept in concepts:
        counts[concept] = counts.get(concept, 0) + 1
    room = HELD_OUT * sum(counts.values())
    chosen = []
    for concept in sorted(counts, key=_hash):
        if counts[concept] <= room:
            chosen.append(concept)
            room -= counts[concept]
    return frozenset(chosen)


def tone_for(emoji: Emoji, style: str) -> str | None:
    """Return the key of the one skin tone that is kept besides the default, or None."""
    tones = [emoji.tones[t.upper()] for t in TONES if t.upper() in emoji.tones]
    return tones[int(_hash(f"{style} {emoji.key}"), 16) % len(tones)] if tones else None


def _hash(text: str) -> str:
    return sha256(f"{SALT}: {text}".encode()).hexdigest()


__all__ = ["CLASSES", "Gathering", "class_of", "concept_of", "held_out", "tone_for"]
