"""Worker: folds events into histories, ranks lists, and publishes them exactly once.

In: records of `recstream.interactions`. Out: lists, dead letters, the histories table and its
changelog. An event passes these files in this order::

    process         the process, from settings to a clean end
    app             Faust app: consumer, agent, table, timers
    loop            from the event loop to the engine's thread
    engine          the order of effects, numbered
    fold            decode and fold into histories; `fold_settings` says by which settings
    lists           rank and compare with the published list
    commit          append to the log, then write to RocksDB; `rocksdb_rows`
    status          counters, latencies, online hit rates

`state` holds a partition in memory; `forget` carries out erasure requests.
"""

from recstream.worker.process import run
