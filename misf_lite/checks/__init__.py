"""Checks of the exercises, one module per notebook, and `Check`, which they are made of."""

from misf_lite.checks.check import Check, CheckFailed

__all__ = ["Check", "CheckFailed"]
