"""Where pyserver knowingly does not do what was recorded, and why. The real Triton at hand is 2.51;
what is followed is the newer line (2.73) as shared/spec tells it, or better sense.

What is right instead stands in differing.json: by scenario and place, with the reason's name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tests.lifecycle_surface.notes import by_place

REASONS: Final = {
    "override texts": "spec 1: the newer line refuses overrides with texts of their own, as invalid"
    " arguments; 2.51 has one text for everything that it finds out while it reads a model",
    "names": "spec 1: the newer line refuses names that no model can have, and those that climb",
    "paths": "a file's path that climbs or is absolute is refused, even if it comes back: nothing"
    " is written where it was not asked for (2.51 writes some of them inside the model's folder)",
    "plain load": "a load without an override means what lies in the repository; 2.51 keeps the"
    " override then, unless --model-namespacing is on or the model was unloaded in between",
    "in use": "the index lists what serves, even if it does not lie in a repository (any more)",
    "twice": "the index lists what serves, even if its name lies in a second repository by now",
    "hidden": "hidden folders, which tools leave behind, are no models",
    "frames": "the text ends with the frames that led to a syntax error; stable() drops them",
    "unload body": "spec 1: a body that cannot be read is refused; 2.51 unloads all the same",
    "ready": "spec 1: the newer line's text for a wrong type of 'ready'",
    "base64": "a file that is not base64 is refused instead of being read as something else",
    "one more": "a load of one more model never makes a ready server unready: neither while it"
    " loads nor if it fails. What served before, or was to serve from the start, counts",
    "own step": "the load of an ensemble brings the models that its steps mean, and not others of"
    " equal names in other repositories",
    "bare name": "texts name the model as the client does, not by its repository, nor by a map of"
    " the server's that clients do not know",
}


def _listed() -> dict[str, dict[str, tuple[str, Any]]]:
    """By run and place: the reason, and what is right instead."""
    path = Path(__file__).with_name("differing.json")
    listed: dict[str, dict[str, dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: {place: (REASONS[one["why"]], one["instead"]) for place, one in places.items()}
        for name, places in listed.items()
    }


DIFFERING: Final = _listed()


def wanted_instead(name: str, recorded: list[Any]) -> list[Any]:
    """The notes that are right: the recorded ones, but for listed differences."""
    listed = DIFFERING.get(name, {})
    notes: list[Any] = []
    for place, said in by_place(recorded).items():
        what = place.partition(" ")[2]
        notes.append({what: listed[place][1] if place in listed else said})
    return notes
