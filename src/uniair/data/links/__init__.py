"""Links: contract, shards, readers, campaigns and batches."""
