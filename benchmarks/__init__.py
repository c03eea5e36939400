"""Benchmarks: each figure is measured in the same run as a yardstick, so that ratios hold on any machine."""
