"""Runs and checks an installation on one machine, for `recstream up`, `doctor` and `bench`.

In: settings. Out: supervised role processes and a demo shop, findings of checks, measurements.
"""
