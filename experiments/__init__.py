"""What was found out with the package, by ``python -m experiments COMMAND`` from a checkout; no part of the wheel.

What came of it is in docs/results.md, and what it means in docs/findings.md.
"""
