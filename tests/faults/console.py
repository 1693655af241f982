"""Output of the long campaigns."""

import sys
import time


def print_line(text: str) -> None:
    """Print a line with the time of day at once."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()
