"""Links: contract, shards, campaigns and batches."""
