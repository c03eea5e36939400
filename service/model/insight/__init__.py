"""Analysis by gradients and patches: attribution, memory, dynamics, and summaries of units."""
