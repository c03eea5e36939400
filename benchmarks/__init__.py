"""Benchmarks: figures of one run, each next to its yardstick, so that they mean the same on any machine."""
