"""A database of sealed parts, in a folder or a bucket, that many machines add to at once.

    store.json                        the header, put once
    parts/<job>-<shard>-<attempt>.h5  each an HDF5 store, never changed, never named twice
    log/00000017                      one object a commit: its part, then lines of `manifest.py`
    checkpoints/00000256              the state after that entry, so that old entries are not read

A video is stored when a log entry with its line is there. An entry is put only if its number is
free, and whoever puts it has read all entries before it: so no id comes in twice, without a lock.
"""
