"""Where a user's own data lie: profiles, imported offers, owned machines."""

import os
from pathlib import Path

from platformdirs import user_data_path


def home() -> Path:
    """The user's data directory: ISOCOST_HOME, or where the system keeps such data."""
    given = os.environ.get("ISOCOST_HOME")
    return Path(given) if given else user_data_path("isocost")
