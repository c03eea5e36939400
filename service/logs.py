"""How processes of the service log: one line an event on standard error, with the process's name."""

import logging
import sys


def configure(process: str, level: str = "INFO") -> None:
    """Sets up logging for this process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)-7s {process}: %(message)s"))
    logging.basicConfig(handlers=[handler], level=level, force=True)
