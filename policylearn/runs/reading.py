"""The config that a run keeps, read back."""

import json
from pathlib import Path
from typing import Any

from policylearn.config import Config, config_of
from policylearn.config.places import places_of
from policylearn.config.renamed import rename
from policylearn.runs.contents import known_contents
from policylearn.runs.layout import BEGUN_IN, CONFIG
from policylearn.storage.folder import Storage

MARKS_OF_A_RUN = ("policy", "masking", "inner", "learn")
"""Sections by which a config.json is known, of this version or an earlier one."""


def known_config(storage: Storage) -> dict[str, Any] | None:
    """The config of the run in a folder. Every transformers checkpoint has a config.json as well: that is no run."""
    try:
        known = json.loads(storage.read(CONFIG))
        return known if set(MARKS_OF_A_RUN) <= set(known) else None
    except (FileNotFoundError, ValueError, TypeError):  # storage boundary: not there, not JSON, not a run
        return None


def kept_config(storage: Storage) -> Config:
    """The config of the run in a folder. ValueError: there is no run, or one of another version's settings."""
    if (known := known_config(storage)) is None:
        raise ValueError(f"{storage} holds no run of policylearn")
    source = f"{storage}/{CONFIG}"
    return config_of(rename(known, source), (), source)


def config_for_its_files(storage: Storage) -> Config:
    """The same, for whoever goes on to read what it names.

    Raises:
        ValueError: as `kept_config`; or a file is there from the folder alone in which the run was begun.
    """
    config = kept_config(storage)
    if (begun := known_contents(storage).get(BEGUN_IN)) is not None:
        for key, place in places_of(config).items():
            if not Path(place).exists() and Path(begun, place).exists():
                raise ValueError(f"{storage} was {BEGUN_IN} {begun}, where its {key} {place} is: call this from there")
    return config
