"""The catalogue of items: a store (SQLite on one machine, or MongoDB) kept equal to its topic.

In: item upserts and deletes on the topic `recstream.catalogue`. Out: items by id, search, categories.
"""

from urllib.parse import urlsplit

from recstream.catalogue.port import Catalogue
from recstream.catalogue.view import CatalogueView, delete_record, read_change, upsert_record
from recstream.errors import InvalidSetting

__all__ = [
    "Catalogue",
    "CatalogueView",
    "delete_record",
    "open_catalogue",
    "read_change",
    "upsert_record",
]


def open_catalogue(url: str, *, owner: str = "") -> Catalogue:
    """Open the item store that a URL names: ``embedded:///folder`` or ``mongodb://host/database``.

    Parameters
    ----------
    url : str
        MongoDB's default database is ``recstream``.
    owner : str, optional
        The process that follows the topic, e.g. ``"bridge-8000"``. An embedded store serves one
        process, so each owner has its own sub-folder; in MongoDB all share one collection.

    Raises
    ------
    InvalidSetting
        The URL's scheme is neither, or a part of it is missing.
    CatalogueUnavailable
        The store can't be reached, or another process uses it.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "embedded" and rest:
        from recstream.catalogue.embedded import EmbeddedCatalogue  # noqa: PLC0415 - loads when used

        return EmbeddedCatalogue(f"{rest}/{owner}" if owner else rest)
    if scheme in {"mongodb", "mongodb+srv"} and rest:
        from recstream.catalogue.mongo import MongoCatalogue  # noqa: PLC0415 - an extra

        return MongoCatalogue(url)
    shown = urlsplit(url)._replace(netloc="…").geturl() if "@" in url else url
    message = f"catalogue must be embedded:///folder or mongodb://host:port/database, got {shown!r}"
    raise InvalidSetting(message)
