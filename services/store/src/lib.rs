//! What aggregation keeps between starts: an embedded key-value store and full snapshots of it.
