"""Benchmarks: figures of one run, each beside its yardstick, so that they mean the same on any machine."""
