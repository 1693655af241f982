"""Code location of Dagster; `pipelines.definitions` has all that it loads."""

import warnings

from dagster import BetaWarning

# Range backfills and observations have been beta for years; the lock file pins what they do.
warnings.filterwarnings("ignore", category=BetaWarning)
