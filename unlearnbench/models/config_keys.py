"""Keys of a model's config that transformers does not know, and would pass over for a default: other scores, and no word of it.

Models on the hub have keys of their own, which mean something to whoever wrote them: these are left alone. What is refused is a
slip of a key that is not there itself, and rotary settings without what makes them complete.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from unlearnbench.errors import UsageError
from unlearnbench.models.weight_files import listed, read_json

ROTARY = ("rope_parameters", "rope_scaling")  # the second is how older versions of transformers wrote it
EVERY_ROTARY = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}  # of the default rotation, too
NAME_LENGTH = 3  # shorter words that differ in a letter are two words: eos and eod, n and d


def check_config(folder: Path) -> None:
    """Refuse a config.json of which transformers would silently leave a setting out.

    Raises:
        UsageError: names file and key, and the key that is meant.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    file = folder / "config.json"
    settings = read_json(file)
    family = settings.get("model_type")
    if isinstance(family, str) and family in CONFIG_MAPPING:
        _check_level(file, settings, CONFIG_MAPPING[family], "")


def _check_level(file: Path, settings: Mapping[str, Any], kind: Any, place: str) -> None:
    """Look at the settings of one config, and of those inside it."""
    from transformers import PretrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    shared = defaults_of(PretrainedConfig)  # names of classes, labels, dtypes: nothing that a score depends on
    known = {name: default for name, default in defaults_of(kind).items() if name not in shared or name in settings}
    rotary = ROTARY if "rope_parameters" in known else ()
    if rotary:  # where older versions of transformers wrote them
        known |= dict.fromkeys(("rope_scaling", "rope_theta", "partial_rotary_factor"))
    check_keys(file, settings, known, kind.__name__, aliases=kind.attribute_map, place=place)
    for name in rotary:
        if isinstance(rotation := settings.get(name), dict):
            _check_rotary(file, rotation, kind, settings, f"{place}{name}")
    for name, inner in kind.sub_configs.items():
        part = settings.get(name)
        if isinstance(part, dict):
            family = part.get("model_type", getattr(inner, "model_type", None))
            if isinstance(family, str) and family in CONFIG_MAPPING:
                _check_level(file, part, CONFIG_MAPPING[family], f"{place}{name}.")


def defaults_of(kind: Any) -> dict[str, Any]:
    """Return the settings of a dataclass with their defaults."""
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()  # early versions 5 of transformers have none
    made = {field.name: field.default_factory for field in fields if field.default_factory is not dataclasses.MISSING}
    return {field.name: made[field.name]() if field.name in made else field.default for field in fields}


def check_keys(
    file: Path,
    settings: Mapping[str, Any],
    known: Mapping[str, Any],
    reader: str,
    *,
    aliases: Mapping[str, str] | None = None,
    place: str = "",
) -> None:
    """Refuse a key that looks like a misspelt known one, where that is missing and has another value by default.

    Args:
        file: the file that holds the settings.
        settings: the settings, as written in the file.
        known: the keys that are read, and their defaults.
        reader: name of the class that reads the settings, for the message.
        aliases: further names of known keys.
        place: prefix of the keys in the file, such as `text_config.`; empty at the top level.

    Raises:
        UsageError: there is such a key; the message names the key that is probably meant.
    """
    names = {name: name for name in known} | dict(aliases or {})
    there = {names.get(name, name) for name in settings}
    for name, value in settings.items():
        if name in names:
            continue
        for near, key in names.items():
            if key not in there and is_slip(name, near) and known.get(key) != value:
                otherwise = "" if known.get(key) is None else f", which would be {known[key]!r} by default"
                raise UsageError(
                    f"{file} has the key {place + name!r}, which {reader} does not know, and no {near}{otherwise}: write "
                    f"{near} instead, or take the key out where that is not meant."
                )


def _check_rotary(file: Path, rotation: dict[str, Any], kind: Any, settings: Mapping[str, Any], place: str) -> None:
    """Check the rotary settings: those of the whole model, or those of each kind of layer."""
    from transformers.modeling_rope_utils import RopeParameters

    ignored: Collection[str] = getattr(kind, "ignore_keys_at_rope_validation", ())
    readable = EVERY_ROTARY | set(RopeParameters.__annotations__) | set(ignored)
    labels = _labels(file, place)
    whole = not any(label in rotation for label in labels)
    if not whole:
        check_keys(file, rotation, dict.fromkeys(labels), kind.__name__, place=f"{place}.")
    for name, block in [(place, rotation)] if whole else [(f"{place}.{label}", rotation.get(label)) for label in labels]:
        if not isinstance(block, dict):
            continue
        # a type that is left out is looked at below
        check_keys(file, block, dict.fromkeys(readable), kind.__name__, aliases={"type": "rope_type"}, place=f"{name}.")
        others = sorted(block.keys() & readable - EVERY_ROTARY - {"mrope_section"} - set(ignored))
        if others and not block.keys() & {"rope_type", "type"}:
            raise UsageError(
                f"{file} has {listed(others)} in {name} and no rope_type, so that transformers would rotate without "
                f"{'it' if len(others) == 1 else 'them'}: write the rope_type that the model was trained with."
            )
        theta = block.get("rope_theta", settings.get("rope_theta"))
        if isinstance(theta, bool) or (place.endswith("rope_parameters") and theta is None):
            found = "no rope_theta" if theta is None else f"{json.dumps(theta)} as rope_theta"
            raise UsageError(
                f"{file} has {found} in {name}, and transformers would take another number for it: write the rope_theta that "
                "the model was trained with."
            )


def _labels(file: Path, place: str) -> list[str]:
    """The kinds of layers that may have rotary settings of their own, as transformers sees it; none where it cannot tell."""
    from transformers import AutoConfig

    try:
        config: Any = AutoConfig.from_pretrained(file.parent, trust_remote_code=False)
        for step in place.split(".")[:-1]:
            config = getattr(config, step)
        return list(dict.fromkeys(getattr(config, "_rope_type_labels", None) or getattr(config, "layer_types", None) or ()))
    except Exception:  # whatever is wrong is said when the model is built
        return []


def is_slip(given: str, meant: str) -> bool:
    """True where the names differ by a letter more, fewer or exchanged, by two swapped, or by capitals or outer spaces only."""
    if given.strip().casefold() == meant.casefold():
        return True
    short, long = sorted((given, meant), key=len)
    if not short or len(long) - len(short) > 1:
        return False
    same = next((place for place, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(short) < len(long):
        return short[same:] == long[same + 1 :]
    swapped = short[same : same + 2] == long[same : same + 2][::-1] and short[same + 2 :] == long[same + 2 :]
    return swapped or (short[same + 1 :] == long[same + 1 :] and len(_word(short, same)) > NAME_LENGTH)


def _word(name: str, place: int) -> str:
    """The word of a name with underscores that holds a place."""
    return name[name.rfind("_", 0, place) + 1 :].partition("_")[0]
