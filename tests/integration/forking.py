"""Processes that fork from a server which has imported the modules and done nothing with them.

That takes a tenth of the time of a start. The Delta runtime does not survive a fork once it is in
use, so the server itself may use none of them.
"""

import multiprocessing

forking = multiprocessing.get_context("forkserver")
forking.set_forkserver_preload(
    [
        "local_stack.command_line",
        "tests.integration.outbox_rows",
        "tests.integration.test_bulk_import",
    ]
)
