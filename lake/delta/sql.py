"""Read-only SQL over the tables of the lake, by DataFusion, which comes with the Delta library.

DataFusion itself also writes files (COPY) and reads any (CREATE EXTERNAL TABLE). A statement is
run only after it was planned as a common table expression: nothing but a query can stand there,
and a query reads nothing but the tables that were registered.
"""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Final

import pyarrow as pa
from deltalake import QueryBuilder
from deltalake.exceptions import DeltaError

from lake.delta.storage import Lake
from lake.errors import LakeError

# What sorts and groupings may hold; beyond it they go to temporary files. A join's smaller side
# has to fit.
_SESSION: Final = ("SET datafusion.runtime.memory_limit = '2G'",)
_ONE_QUERY = "one query at a time is all that runs here, and nothing is written"


class SqlError(LakeError):
    """The SQL can't be run as it is; the text says in one line what to change."""


def run_sql(lake: Lake, sql: str, tables: Sequence[str]) -> pa.RecordBatchReader:
    """Run one SELECT over `tables` and return its rows in batches as they are computed.

    Only tables that the SQL names are opened, each at its newest version. Texts are large_string
    and times have microseconds, as in the tables. Raises TableMissing and SqlError, which may
    also come while the batches are read.
    """
    query = sql.strip().rstrip(";")
    if not query:
        raise SqlError("there is no SQL")
    builder = QueryBuilder()
    for name in tables:
        if re.search(rf"\b{re.escape(name)}\b", query):
            builder.register(name, lake.open(name))
    try:
        for setting in _SESSION:
            builder.execute(setting)
        _require_query(builder, query)
        found = pa.RecordBatchReader.from_stream(builder.execute(query))
    except (DeltaError, pa.ArrowException) as error:
        raise _sql_error(error, tables) from error
    names = found.schema.names
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise SqlError(f"two columns are called {repeated[0]}: give one another name with AS")
    plain = found.cast(pa.schema([_plain_field(field) for field in found.schema]))
    return pa.RecordBatchReader.from_batches(plain.schema, _batches(plain, tables))


def _batches(found: pa.RecordBatchReader, tables: Sequence[str]) -> Iterator[pa.RecordBatch]:
    try:
        yield from found
    except pa.ArrowException as error:
        raise _sql_error(error, tables) from error


def _sql_error(error: Exception, tables: Sequence[str]) -> SqlError:
    """Turn an error of DataFusion into one line that helps."""
    text = str(error)
    if missing := re.search(r"table '(?:datafusion\.public\.)?(.+)' not found", text):
        return SqlError(f"there is no table {missing[1]}; there are {', '.join(sorted(tables))}")
    if missing := re.search(r"No field named (.+?)\.(?: |\n|$)", text):
        return SqlError(_no_column(missing[1], text))
    if repeated := re.search(r"duplicate (?:un)?qualified field name (\S+)", text):
        name = repeated[1].rsplit(".", 1)[-1]
        return SqlError(f"two columns are called {name}: give one another name with AS")
    if syntax := re.search(r'(?:Parser|Tokenizer)Error\("(.*?)(?: at Line: (\d+).*)?"\)', text):
        # The first line is that of the WITH around it.
        where = f" in line {int(syntax[2]) - 1}" if syntax[2] else ""
        message = syntax[1].replace("SELECT, VALUES, or a subquery in the query body", "SELECT")
        if message.startswith(("Expected: SELECT,", "Expected: )")):
            message += f" ({_ONE_QUERY})"
        return SqlError(f"the SQL can't be read{where}: {message}")
    if "only supports a single SQL statement" in text or re.search(r"Query \w+ .*not impl", text):
        return SqlError(_ONE_QUERY)
    message = re.sub(r"Optimizer rule '\w+' failed|(Error during planning|\w+ error): ", "", text)
    return SqlError(" ".join(message.replace("caused by", "").split()))


def _require_query(builder: QueryBuilder, query: str) -> None:
    """Raise unless the text is a query and nothing more; it is planned, and not run."""
    text = "EXPLAIN WITH query AS (\n" + query + "\n) SELECT * FROM query"  # noqa: S608 - it is what the user may say
    explained = builder.execute(text).read_all()
    plan = pa.table(explained)
    # SELECT ... INTO is the one statement that stands there and is more than a query.
    if "CreateMemoryTable" in plan["plan"][0].as_py() or "physical_plan_error" in (
        plan["plan_type"].to_pylist()
    ):
        raise SqlError(_ONE_QUERY)


def _no_column(name: str, text: str) -> str:
    """Name the columns near an unknown name, or all that there are."""
    valid = text.split("Valid fields are ", 1)[-1].rstrip(".").split(", ")
    columns = list(dict.fromkeys(field.rsplit(".", 1)[-1].strip('"') for field in valid))
    wanted = name.rsplit(".", 1)[-1].strip('"')
    near = get_close_matches(wanted, columns, n=3, cutoff=0.5)
    if near:
        are = "is" if len(near) == 1 else "are"
        return f"there is no column {wanted}; near {are} {', '.join(near)}"
    if "Valid fields are" not in text:
        return f"there is no column {wanted}; a text stands in single quotes"
    return f"there is no column {wanted}; there are {', '.join(columns)}"


def _plain_field(field: "pa.Field[pa.DataType]") -> "pa.Field[pa.DataType]":
    return pa.field(field.name, _plain(field.type), field.nullable)


def _plain(kind: pa.DataType) -> pa.DataType:
    """Types that every reader knows: no views, no nanoseconds, no column of nothing but nulls."""
    if pa.types.is_string_view(kind) or pa.types.is_null(kind) or pa.types.is_string(kind):
        return pa.large_string()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind
