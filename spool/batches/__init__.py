"""Batches: lines that wait in compressed blocks, the feeder that turns them into jobs, and what a batch shows."""
