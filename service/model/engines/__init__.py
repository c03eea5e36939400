"""What computes a network: engines, proven against each other, and the choice among them."""
