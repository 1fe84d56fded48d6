"""What a file is, by its first bytes: a compression, a table, a product feed, text or no text."""

import re

_COMPRESSIONS = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"]\0\0", "lzma"),
    (b"PK\3\4", "zip"),
    (b"PK\5\6", "zip"),
)
_BINARY = (
    (b"\xd0\xcf\x11\xe0", "an Excel or other Office file", "save the table as CSV"),
    (b"ORC", "an ORC file", "save it as CSV or JSON lines"),
    (b"Obj\x01", "an Avro file", "save it as CSV or JSON lines"),
    (b"ARROW1", "an Arrow file", "save it as CSV or JSON lines"),
    (b"PARE", "an encrypted Parquet file", "decrypt it"),
    (b"SQLite format 3\0", "an SQLite database", "export the table as CSV"),
    (b"%PDF", "a PDF document", "save the table as CSV"),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard", "unpack it: zstd -d FILE"),
    (b"\x04\x22\x4d\x18", "compressed by LZ4", "unpack it: lz4 -d FILE"),
    (b"\x1f\x9d", "compressed by compress", "unpack it: gunzip FILE"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"\x89HDF", "an HDF5 file", "save the table as CSV"),
    (b"\x93NUMPY", "a NumPy array", "save it as CSV"),
    (b"\x80\x04\x95", "a Python pickle", "save the table as CSV"),
    (b"\x80\x05\x95", "a Python pickle", "save the table as CSV"),
    (b"\x89PNG", "an image", "name a file of rows"),
    (b"\xff\xd8\xff", "an image", "name a file of rows"),
)
_FEED = re.compile(
    rb"^(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--[\s\S]*?-->\s*)*+"
    rb"(?:<!DOCTYPE[^>\[]*(?:\[[^\]]*\]\s*)?>\s*)?<(?:rss|feed)\b"
)
"""Start of a product feed. The comments are matched possessively: trying other ends of them takes for ever."""
_MARKUP = re.compile(rb"^(?:\xef\xbb\xbf)?\s*<(?:\?xml|!doctype|html)\b", re.IGNORECASE)
_MIN_SHARE = 16
"""One zero byte or control character in so many means that a file is binary or UTF-16."""
_CONTROLS = bytes([*range(4, 9), *range(14, 26), 28, 29])
"""Characters that no text has. Some tables are separated by others, such as 1 or 31."""


def compression_of(start: bytes) -> str:
    """Return the name of the compression of a file that starts like this; empty if it has none."""
    return next((name for magic, name in _COMPRESSIONS if start.startswith(magic)), "")


def is_parquet(start: bytes) -> bool:
    """Whether a file that starts like this is a Parquet file."""
    return start.startswith(b"PAR1")


def is_feed(start: bytes) -> bool:
    """Whether a file that starts like this is a product feed in XML."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        start = start.decode("utf-16", errors="ignore").encode(errors="ignore")
    return _FEED.search(start) is not None


def why_binary(start: bytes) -> str:
    """Return why content is binary, with advice; empty if it may be text."""
    if compression := compression_of(start):
        return f"is compressed more than once (by {compression} at last); unpack it first"
    for magic, what, advice in _BINARY:
        if start.startswith(magic):
            return f"is {what}, expected text; {advice}"
    if start[257:262] == b"ustar":
        return "is a tar archive; unpack it and name the file"
    if _MARKUP.search(start):
        return "is XML or HTML and no product feed (RSS or Atom); save the table as CSV"
    return ""


def why_no_text(start: bytes, encoding: str) -> str:
    """Return why content isn't text in an encoding with ASCII's characters; empty if it may be."""
    if start.count(0) * _MIN_SHARE > len(start):
        return (
            f"is no text in {encoding}: it has many zero bytes; if it is UTF-16, use "
            "--encoding utf-16-le or utf-16-be, else save it as CSV or JSON lines"
        )
    if (len(start) - len(start.translate(None, _CONTROLS))) * _MIN_SHARE > len(start):
        return f"is no text in {encoding}: it has many control characters; save it as CSV or JSON lines"
    return ""
