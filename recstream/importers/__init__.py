"""Importers: files of other systems become events and products in the log.

In: CSV, TSV or JSON lines, MovieLens and Amazon files. Out: envelopes of events in time order and catalogue
records, each import once; a report of what was left out and why.
"""
