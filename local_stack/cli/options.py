"""Options that several commands share."""

from typing import Annotated

import typer

Url = Annotated[str, typer.Option("--url", help="where the collector is", envvar="WATTLAKE_URL")]
LOCAL = "http://127.0.0.1:3000"
