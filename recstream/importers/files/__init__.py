"""Files of other systems, as rows of text. In: a path, a pipe or a query. Out: numbered rows.

`file` opens what may be compressed or converted, `source` finds the header and gives the rows, `cells`
reads numbers and times.
"""

from recstream.importers.files.source import Source
