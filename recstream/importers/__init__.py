"""Importers: files of other systems become events and products in the log.

In: CSV, TSV or JSON lines, MovieLens and Amazon files, topics of other systems. Out: envelopes of
events in time order and catalogue records, each import once; a report of what was rejected and why.
"""

from recstream.importers.envelopes import envelopes
from recstream.importers.events import ImportReport, import_events
from recstream.importers.files.source import Source
from recstream.importers.mapping import ColumnMapping
from recstream.importers.movielens import find_files, ratings_mapping, read_titles
from recstream.importers.presets import prepare_source, preset, presets, recognise
from recstream.importers.products import import_items, import_products
from recstream.importers.topic import import_topic
from recstream.importers.undo import undo_events
