"""The Dagster code location; `pipelines.definitions` is its door."""

import warnings

from dagster import BetaWarning

# Range backfills and observations have been beta for years; the lock file pins what they do.
warnings.filterwarnings("ignore", category=BetaWarning)
