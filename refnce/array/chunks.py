"""Sums over the chunks of a Dask array, formed where the chunks are.

A pass ships one function and F to every chunk and gets a few numbers per run back. They
are joined in the order of the chunks, so that the result depends neither on the
scheduler nor on the number of workers. Dask is not imported: its arrays bring it.
"""

import inspect
from typing import Any
from uuid import uuid4

from refnce.array.backend import Array, array_namespace, asarray, device, host
from refnce.array.backend import ignore_fp_errors, is_numpy, to_numpy


def is_lazy(r: Any) -> bool:
    """Whether ``r`` is a Dask array."""
    return hasattr(r, "__dask_graph__")


def shipped(f: Any) -> Any:
    """Return ``f`` as a function that a worker can receive where refnce is missing.

    It then raises RuntimeError. Dask itself ends a worker that cannot unpickle a task,
    and waits for another worker for ever. What follows is therefore pickled by value.
    """
    import cloudpickle  # Dask requires it

    pickled = cloudpickle.dumps(f)

    def call(*args, **kwargs):
        import pickle

        try:
            f = pickle.loads(pickled)
        except (ImportError, AttributeError) as error:
            remedy = "install refnce on the workers, in the version of the client"
            raise RuntimeError(f"a Dask worker: {error}; {remedy}") from error
        return f(*args, **kwargs)

    call.__signature__ = inspect.signature(f)  # type: ignore[attr-defined]
    return call  # in which Dask looks for block_id


def over_chunks(f: Any, r: Array, runs: Any) -> list[Any]:
    """Return [f(chunk, *runs)] over the chunks of ``r``, in their order, as NumPy's.

    ``f`` returns arrays over the runs, of which NumPy's ``runs`` has some. Chunks
    without samples are left out.
    """
    ndim = r.ndim

    def on_worker(chunk):
        sums, found = None, host.empty((1,) * ndim, dtype=object)
        with ignore_fp_errors():
            if chunk.shape[-1]:
                sums = tuple(map(to_numpy, f(chunk, *beside(chunk, runs))))
        found.flat[0] = chunk.shape, sums
        return found

    # With a new name Dask neither looks at f nor takes an older result.
    name, chunks = f"refnce-{uuid4()}", tuple((1,) * k for k in r.numblocks)
    options = {"dtype": object, "meta": host.empty(0, object)}
    parts = r.map_blocks(shipped(on_worker), name=name, chunks=chunks, **options)
    found = []
    for k, (shape, sums) in enumerate(parts.compute().ravel()):
        declared = *r.shape[:-1], r.chunks[-1][k]
        if shape != declared:
            reason = f"chunk {k} of a Dask array has shape {shape}, not {declared} as"
            raise ValueError(f"{reason} its .chunks say: pass chunks= to map_blocks")
        if sums is not None:
            found.append(sums)
    return found


def over_samples(f, r, F):
    """f(r, F) of every sample (..., n), of a Dask array when it is asked for."""
    if not is_lazy(r):
        return f(r, F)
    shape = *host.broadcast_shapes(F.shape, r.shape[:-1]), r.shape[-1]
    if shape != r.shape:
        r = host.broadcast_to(r, shape)

    def on_worker(chunk):
        with ignore_fp_errors():
            return f(chunk, F) if chunk.size else chunk

    name = f"refnce-{uuid4()}"
    return r.map_blocks(shipped(on_worker), dtype=r.dtype, meta=r._meta, name=name)


def beside(chunk: Array, arrays: Any) -> list[Array]:
    """NumPy's ``arrays`` on the device of ``chunk``."""
    if is_numpy(chunk):
        return list(arrays)
    xp, place = array_namespace(chunk), device(chunk)
    return [asarray(x, xp, device=place) for x in arrays]


def part_of(r: Array) -> Array:
    """Some of the samples in memory: every 61st, or of a Dask array parts of chunks.

    At most an eighth of its chunks is read, and not more than 16.
    """
    if not is_lazy(r):
        return r[..., 30::61] if r.shape[-1] > 4096 else r
    filled = [k for k, size in enumerate(r.chunks[-1]) if size]
    few = min(16, max(1, len(filled) // 8))
    chosen = [filled[(2 * k + 1) * len(filled) // (2 * few)] for k in range(few)]
    parts = over_chunks(lambda chunk: [_thinned(chunk)], r.blocks[..., chosen], ())
    return host.concatenate([x for (x,) in parts], axis=-1)


def _thinned(chunk: Array) -> Array:
    """At most 65,536 to 131,071 samples of a chunk, whose memory is then free."""
    part = chunk[..., :: max(1, chunk.shape[-1] // 65536)]
    return array_namespace(part).asarray(part, copy=True)
