"""Named arrays come back as they were written, or are refused."""

import hashlib
import io

import numpy as np
import pytest

from recstream.core.numeric import array_codec
from recstream.core.numeric.array_codec import array_digest, read_arrays, write_arrays
from recstream.errors import ArtifactCorrupt


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i8", "|b1", "|u1"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (0, 2), (2, 3)])
def test_an_array_keeps_its_type_shape_and_order(dtype, order, shape):
    array = np.arange(6)[: int(np.prod(shape))].reshape(shape).astype(dtype, order)
    stream = io.BytesIO()

    written = write_arrays(stream, {"one": array})

    stream.seek(0)
    digest, named = read_arrays(stream, "x", written)
    assert digest == written == array_digest(named)
    back = named["one"]
    assert (back.dtype, back.shape, back.flags.f_contiguous) == (
        array.dtype,
        array.shape,
        array.flags.f_contiguous,
    )
    np.testing.assert_array_equal(back, array)


def _stored(digest: str, one: np.ndarray) -> io.BytesIO:
    stream = io.BytesIO()
    np.savez(stream, digest=np.frombuffer(digest.encode(), np.uint8), one=one)
    stream.seek(0)
    return stream


def test_a_file_with_the_older_sha256_digest_is_still_read_and_checked():
    one = np.arange(3)
    digest = hashlib.sha256(f"one {one.dtype.str} (3,)\n".encode() + one.tobytes()).hexdigest()

    assert read_arrays(_stored(digest, one), "x")[0] == digest
    with pytest.raises(ArtifactCorrupt, match="must have the digest"):
        read_arrays(_stored(digest, one + 1), "x")


def test_arrays_other_than_those_announced_are_refused():
    stream = io.BytesIO()
    write_arrays(stream, {"one": np.arange(3)})
    stream.seek(0)

    with pytest.raises(ArtifactCorrupt, match="its announcement states"):
        read_arrays(stream, "x", "0" * 32)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        np.arange(6, dtype=">i2"),
        np.array(5.0),
        np.zeros((0, 4), np.uint8),
        np.array([True, False]),
        np.array(["a", "bcd"]),
        np.array([(1, 2.5)], [("n", "<i4"), ("weight", "<f8")]),
        np.zeros(2, np.dtype([("n", "<i4"), ("weight", "<f8"), ("flag", "?")], align=True)),
    ],
    ids=str,
)
def test_an_array_comes_back_as_numpy_reads_it(array):
    stream = io.BytesIO()
    np.savez(stream, x=array)

    (made,) = array_codec._read_members(stream).values()

    assert (made.dtype, made.shape, made.flags.f_contiguous) == (
        array.dtype, array.shape, array.flags.f_contiguous,
    )  # fmt: skip
    assert made.tobytes() == array.tobytes()
    assert made.flags.writeable


def test_a_header_is_read_without_parsing_python(monkeypatch):
    monkeypatch.setattr("ast.literal_eval", lambda _: pytest.fail("ast is not safe in threads"))
    stream = io.BytesIO()
    digest = write_arrays(stream, {"a": np.ones(3)})

    assert read_arrays(stream, "x")[0] == digest
