"""Modules that only some commands need: an extra of this project brings them, and they are imported where used."""

from importlib import import_module
from types import ModuleType


def import_or_explain(name: str, extra: str) -> ModuleType:
    """A module that an extra of this project brings.

    Raises:
        ImportError: it is missing, or broken; the message names the extra that brings it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"this needs {name} ({error}): run pip install 'misf-lite[{extra}]'") from error
