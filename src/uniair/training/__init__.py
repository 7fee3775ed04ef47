"""The loop, checkpoints and logs."""
