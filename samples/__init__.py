"""Synthetic captures with exact ground truth: for the demo, for tests and for benchmarks."""
