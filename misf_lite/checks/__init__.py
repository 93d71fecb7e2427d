"""Checks of the exercises, one module per notebook, and `check`, which they are made of."""

from misf_lite.checks.check import CheckFailed, check

__all__ = ["CheckFailed", "check"]
