"""`python -m ingestion_api.page.chart_bundle`: writes the chart library to stdout, gzipped."""

import gzip
import os
import sys

import vl_convert

from ingestion_api.page.chart_library import SNIPPET


def main() -> None:
    """Take the library out of vl-convert; seconds of work, so behind whoever else wants the CPU."""
    os.nice(10)
    module: str = vl_convert.javascript_bundle(snippet=SNIPPET)
    sys.stdout.buffer.write(gzip.compress(module.encode(), mtime=0))


if __name__ == "__main__":
    main()
