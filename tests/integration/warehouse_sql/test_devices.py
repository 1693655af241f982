"""The device registry on a real server: who was first heard when, and what that opens again."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import DictRow, dict_row

from lake import HOUR, METER, VEHICLE
from pipelines.compute.devices import charger_classes, with_cadences
from tests.harness.waiting import wait_for
from tests.samples import HOUR_10
from warehouse_sql.device_attributes import DeviceAttributes
from warehouse_sql.devices import (
    DeviceUpdate,
    list_devices,
    remove_devices,
    update_devices,
)
from warehouse_sql.migrate import migrations
from warehouse_sql.named_queries import query

ODD_ID = "Zähler | \"7\" 'x'"
WAITING = (
    b"SELECT 1 FROM pg_stat_activity"
    b" WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
HOURS = [HOUR_10 + n * HOUR for n in range(6)]
DAY = timedelta(days=1)


Connection = psycopg.Connection[DictRow]


def connected(database_url: str) -> Connection:
    return psycopg.connect(
        database_url, autocommit=True, row_factory=dict_row, options="-c TimeZone=UTC"
    )


@pytest.fixture
def db(database_url: str) -> Iterator[Connection]:
    """A connection to the database of this test."""
    with connected(database_url) as connection:
        yield connection


def register(db: Connection, stream: str, heard: dict[str, datetime]) -> None:
    """Register devices as the history asset does for some hours."""
    db.execute(
        query("register_devices"),
        {
            "stream": stream,
            "devices": list(heard),
            "times": list(heard.values()),
            "energies": [True] * len(heard),
        },
    )


def computed(db: Connection, hours: list[datetime] = HOURS) -> None:
    """A ledger in which these hours are compacted, computed and published."""
    db.execute(
        b"INSERT INTO partition_ledger (stream, hour, raw_rows, raw_version, last_arrival,"
        b" compacted_version, computed_version, computed_revision, published_version,"
        b" published_revision)"
        b" SELECT stream, hour, 1, 1, now(), 1, 1, 0, 1, 0"
        b" FROM unnest(ARRAY['meter', 'vehicle']) AS s (stream),"
        b" unnest(%(hours)s::timestamptz[]) AS h (hour)",
        {"hours": hours},
    )


def reopened_hours(db: Connection) -> list[datetime]:
    """The hours of the ledger that have come to wait since the last look; both streams alike."""
    rows = db.execute(b"SELECT stream, hour FROM unpublished_hour ORDER BY stream, hour")
    found: dict[str, list[datetime]] = {stream: [] for stream in ("meter", "vehicle")}
    for row in rows:
        found[row["stream"]].append(row["hour"])
    assert found["meter"] == found["vehicle"]
    db.execute(b"UPDATE partition_ledger SET published_revision = revision")
    return found["meter"]


def reopened(db: Connection) -> list[int]:
    """The same as their distance from the first of HOURS."""
    return [(hour - HOUR_10) // HOUR for hour in reopened_hours(db)]


def first_heard(db: Connection) -> dict[str, datetime | None]:
    rows = db.execute(b"SELECT device_id, first_heard_at FROM device")
    return {row["device_id"]: row["first_heard_at"] for row in rows}


def minutes(number: float) -> datetime:
    return HOUR_10 + timedelta(minutes=number)


def test_a_new_device_opens_the_hours_from_its_first_heartbeat_on_and_only_once(
    db: Connection,
) -> None:
    computed(db)
    register(db, "meter", {ODD_ID: minutes(135)})
    assert reopened(db) == [2, 3, 4, 5]
    for _ in range(2):
        register(db, "meter", {ODD_ID: minutes(135)})
        register(db, "meter", {ODD_ID: minutes(280)})
    assert reopened(db) == []
    assert first_heard(db) == {ODD_ID: minutes(135)}


@pytest.mark.parametrize("known", [False, True])
def test_a_heartbeat_of_a_clock_that_stands_in_the_past_opens_no_hour_of_today(
    db: Connection, known: bool
) -> None:
    computed(db)
    if known:
        register(db, "meter", {"M1": minutes(200)})
        assert reopened(db) == [3, 4, 5]
    register(db, "meter", {"M1": datetime(2020, 1, 1, tzinfo=UTC)})
    assert reopened(db) == []
    register(db, "meter", {"M1": minutes(150)})
    assert reopened(db) == ([2] if known else [2, 3, 4, 5])


def test_a_device_is_expected_up_to_the_seventh_day_after_one_on_which_it_was_heard(
    db: Connection,
) -> None:
    midnight = HOUR_10.replace(hour=0)
    last = midnight + 8 * DAY - HOUR
    hours = [HOUR_10 - HOUR, HOUR_10, HOUR_10 + HOUR, last, last + HOUR, last + 2 * HOUR]
    computed(db, hours)
    register(db, "meter", {"M1": minutes(5), "M2": minutes(70)})
    db.execute(b"UPDATE partition_ledger SET published_revision = revision WHERE hour < %s", [last])
    assert reopened_hours(db) == [last]

    def expected(hour: datetime) -> list[str]:
        rows = db.execute(query("expected_devices"), {"stream": "meter", "end": hour + HOUR})
        return [row["device_id"] for row in rows]

    everyone = ["M1", "M2"]
    assert [expected(hour) for hour in hours] == [[], ["M1"], everyone, everyone, [], []]
    # Heard on one more day, another device still: a day more, and nothing else.
    register(db, "meter", {"M2": minutes(5) + DAY})
    assert reopened_hours(db) == hours[4:]
    assert [expected(hour) for hour in hours[3:]] == [everyone, ["M2"], ["M2"]]


def test_a_heartbeat_that_names_a_meter_opens_the_hours_in_which_the_rule_may_pair_either(
    db: Connection, database_url: str
) -> None:
    computed(db)
    register(db, "meter", {"M1": minutes(70), "M7": minutes(10)})
    register(db, "vehicle", {"V1": minutes(130), "V3": minutes(10)})
    reopened(db)

    def name(vehicle: str, meter: str, at: datetime) -> list[int]:
        with psycopg.connect(database_url, cursor_factory=psycopg.RawCursor) as connection:
            connection.execute(query("insert_named_links"), [[vehicle], [meter], [at]])
        return reopened(db)

    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    assert name("V3", "M7", long_ago) == []  # neither has a partner of its own number
    assert name("V1", "M7", minutes(190)) == [4, 5]
    assert name("V1", "M7", minutes(30)) == [2]
    assert name("V3", "M1", long_ago) == [2, 3, 4, 5]  # both of the pair are known from hour 2 on
    assert name("V3", "M1", minutes(20)) == []


def test_an_older_heartbeat_opens_the_hours_up_to_the_time_known_before(db: Connection) -> None:
    computed(db)
    register(db, "vehicle", {"V1": minutes(250), "V2": minutes(310)})
    reopened(db)
    register(db, "vehicle", {"V1": minutes(61), "V2": minutes(300)})
    assert reopened(db) == [1, 2, 3]  # V2's first hour remains what it was
    register(db, "vehicle", {"V1": minutes(60)})
    assert reopened(db) == []
    assert first_heard(db) == {"V1": minutes(60), "V2": minutes(300)}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["a", "B", "M001", ODD_ID]), st.integers(0, 359).map(minutes)
        ),
        max_size=6,
    ),
    st.randoms(use_true_random=False),
)
def test_first_heard_is_the_same_in_whatever_order_hours_are_compacted(
    db: Connection, parts: list[dict[str, datetime]], random: Any
) -> None:
    plain: dict[str, datetime] = {}
    for part in parts:
        for device, at in part.items():
            plain[device] = min(at, plain.get(device, at))
    shuffled = [*parts, *random.sample(parts, len(parts) // 2)]
    random.shuffle(shuffled)
    db.execute(b"DELETE FROM device")
    db.execute(b"DELETE FROM partition_ledger")
    computed(db)
    for part in shuffled:
        register(db, "meter", part)
    assert first_heard(db) == plain
    # Every hour that knows a device now, and did not when it was computed, waits.
    earliest = min((at - HOUR_10) // HOUR for at in plain.values()) if plain else len(HOURS)
    assert reopened(db) == list(range(earliest, len(HOURS)))


def test_devices_are_locked_by_id_and_before_the_ledger_so_that_nobody_waits_for_ever(
    db: Connection, database_url: str
) -> None:
    computed(db)
    names = [f"M{n:03}" for n in range(150)]
    register(db, "meter", dict.fromkeys(names, minutes(90)))
    reopened(db)
    with ThreadPoolExecutor() as threads, connected(database_url) as other:
        with connected(database_url) as holder, holder.transaction():
            holder.execute(b"SELECT FROM device WHERE device_id = 'M000' FOR UPDATE")
            earlier = dict.fromkeys(reversed(names), minutes(30))
            registering = threads.submit(register, other, "meter", earlier)
            wait_for(lambda: registering.done() or db.execute(WAITING).fetchall())
            db.execute(b"SELECT FROM device WHERE device_id <> 'M000' FOR UPDATE NOWAIT")
            db.execute(b"SELECT FROM partition_ledger FOR UPDATE NOWAIT")
        registering.result()
    assert set(first_heard(db).values()) == {minutes(30)}
    assert reopened(db) == [0]


def test_a_device_is_expected_from_its_first_heartbeat_until_it_is_retired(
    db: Connection, database_url: str
) -> None:
    register(db, "meter", {"M1": minutes(119), "M2": minutes(120), "M3": minutes(10)})
    register(db, "vehicle", {"V1": minutes(10)})
    update_devices(
        database_url,
        [
            DeviceUpdate("meter", "M3", DeviceAttributes(retired_at=minutes(180))),
            DeviceUpdate("meter", "never heard", DeviceAttributes(charger_class="household")),
        ],
    )

    def expected(hour: int) -> list[str]:
        rows = db.execute(query("expected_devices"), {"stream": "meter", "end": HOURS[hour] + HOUR})
        return [row["device_id"] for row in rows]

    assert [expected(hour) for hour in range(5)] == [
        ["M3"],
        ["M1", "M3"],
        ["M1", "M2", "M3"],
        ["M1", "M2"],
        ["M1", "M2"],
    ]


def test_a_charger_class_opens_every_hour_since_the_meter_was_first_heard(
    db: Connection, database_url: str
) -> None:
    computed(db)
    register(db, "meter", {"M1": minutes(130), "M2": minutes(20)})
    reopened(db)
    told = [
        DeviceUpdate("meter", "M1", DeviceAttributes(charger_class="household")),
        DeviceUpdate("meter", "M9", DeviceAttributes(charger_class="fast")),
    ]
    done = update_devices(database_url, told)
    assert (done.changed, done.unheard, done.hours) == (2, ["M9"], 4)
    assert reopened(db) == [2, 3, 4, 5]

    again = update_devices(database_url, told)
    assert (again.changed, again.hours) == (0, 0)
    assert reopened(db) == []
    with psycopg.connect(database_url) as connection:
        assert charger_classes(connection).rows() == [("M1", "household"), ("M9", "fast")]
    with psycopg.connect(database_url, cursor_factory=psycopg.RawCursor) as connection:
        few = connection.execute(query("classes_and_cadences"), [["V1"], ["M2", "M1"]])
        assert few.fetchall() == [("meter", "M1", "household", None)]

    assert (
        update_devices(
            database_url, [DeviceUpdate("meter", "M1", DeviceAttributes(charger_class=None))]
        ).hours
        == 4
    )
    assert reopened(db) == [2, 3, 4, 5]
    assert {one.device_id: one.charger_class for one in list_devices(database_url)} == {
        "M1": None,
        "M2": None,
        "M9": "fast",
    }


def test_how_often_a_device_sends_counts_for_its_whole_past(
    db: Connection, database_url: str
) -> None:
    computed(db)
    register(db, "vehicle", {"V1": minutes(120)})
    reopened(db)
    told = DeviceUpdate("vehicle", "V1", DeviceAttributes(cadence_seconds=900))
    assert update_devices(database_url, [told]).hours == 4
    assert reopened(db) == [2, 3, 4, 5]
    rows = pl.DataFrame({"vehicle_id": ["V0", "V1"]})
    with psycopg.connect(database_url) as connection:
        assert with_cadences(rows, connection, VEHICLE)["cadence_seconds"].to_list() == [None, 900]
        assert with_cadences(rows, connection, METER)["cadence_seconds"].null_count() == 2


def test_a_retirement_opens_the_hours_in_which_the_device_is_expected_no_longer_or_again(
    db: Connection, database_url: str
) -> None:
    computed(db)
    register(db, "vehicle", {"V1": minutes(70)})
    reopened(db)

    def update(**values: Any) -> list[int]:
        update_devices(database_url, [DeviceUpdate("vehicle", "V1", DeviceAttributes(**values))])
        return reopened(db)

    assert update(retired_at=minutes(150)) == [3, 4, 5]  # of hour 2 a half was in service
    assert update(label="the old one") == []
    assert update(retired_at=minutes(290)) == [3, 4]
    assert update(retired_at=minutes(-500)) == [1, 2, 3, 4]  # before it was first heard
    assert update(retired_at=None) == [1, 2, 3, 4, 5]


def test_a_class_that_is_told_while_its_meter_is_registered_opens_its_hours(
    db: Connection, database_url: str
) -> None:
    computed(db)
    with ThreadPoolExecutor() as threads:
        with connected(database_url) as registering, registering.transaction():
            register(registering, "meter", {"M1": minutes(60)})
            told = [DeviceUpdate("meter", "M1", DeviceAttributes(charger_class="household"))]
            telling = threads.submit(update_devices, database_url, told)
            wait_for(lambda: telling.done() or db.execute(WAITING).fetchall())
        assert telling.result().hours == 5


def test_devices_of_an_older_installation_have_always_been_there(empty_database: str) -> None:
    texts = migrations()
    with connected(empty_database) as db:
        for name, text in texts.items():
            if name < "0013":
                db.execute(text.encode())
        db.execute(
            b"INSERT INTO meter_live_state (meter_id, timestamp, reading_type, received_at)"
            b" VALUES ('M1', now(), 'interval', now()), ('M2', now(), 'interval', now())"
        )
        db.execute(
            b"INSERT INTO vehicle_live_state (vehicle_id, timestamp, reading_type, received_at)"
            b" VALUES ('V1', now(), 'interval', now())"
        )
        db.execute(
            b"INSERT INTO partition_ledger (stream, hour, raw_version, last_arrival)"
            b" VALUES ('vehicle', '2020-03-01T05:00Z', 1, now()), ('meter', now()::date, 1, now())"
        )
        db.execute(texts["0013_device"].encode())
        always = datetime(2020, 3, 1, 5, tzinfo=UTC)
        assert first_heard(db) == {"M1": always, "M2": always, "V1": always}


def test_devices_of_an_older_installation_are_expected_as_they_were_when_hours_were_computed(
    empty_database: str,
) -> None:
    texts = migrations()
    gone = HOUR_10 - 30 * DAY
    with connected(empty_database) as db:
        for name, text in texts.items():
            if name < "0022":
                db.execute(text.encode())
        computed(db)
        db.execute(
            b"INSERT INTO device (stream, device_id, first_heard_at) VALUES ('meter', 'M1', %s),"
            b" ('meter', 'M2', %s), ('meter', 'told only', NULL)",
            [gone, minutes(90)],
        )
        db.execute(
            b"INSERT INTO meter_live_state (meter_id, timestamp, reading_type, received_at)"
            b" VALUES ('M1', %s, 'interval', now()), ('M2', %s, 'interval', now())",
            [gone + DAY, HOURS[-1]],
        )
        for name, text in texts.items():
            if name > "0022":
                db.execute(text.encode())
        assert reopened(db) == []

        def expected(hour: datetime) -> list[str]:
            told = {"stream": "meter", "end": hour + HOUR}
            return [row["device_id"] for row in db.execute(query("expected_devices"), told)]

        hours = [gone - HOUR, gone, HOURS[0], HOURS[1], HOURS[5], HOURS[5] + HOUR]
        both = ["M1", "M2"]
        assert [expected(hour) for hour in hours] == [[], ["M1"], ["M1"], both, both, ["M2"]]


@pytest.mark.usefixtures("next_hour_is_far")
def test_a_removed_device_is_expected_no_longer_and_back_with_its_next_heartbeat(
    db: Connection, database_url: str
) -> None:
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    register(db, "meter", {"gone": now - 2 * HOUR, "stays": now - 2 * HOUR})

    def expected(at: datetime) -> list[str]:
        rows = db.execute(query("expected_devices"), {"stream": "meter", "end": at + HOUR})
        return [row["device_id"] for row in rows]

    removed = remove_devices(database_url, [("meter", "gone")])
    assert (removed.devices, removed.alerts) == (1, 0)
    assert [one.device_id for one in list_devices(database_url)] == ["stays"]
    for _ in range(2):
        assert expected(hour - HOUR) == ["gone", "stays"]  # as that hour was computed
        assert expected(hour + HOUR) == ["stays"]
        register(db, "meter", {"gone": now - HOUR})  # an hour from before is computed again
    register(db, "meter", {"gone": now + HOUR})
    assert expected(hour + HOUR) == ["gone", "stays"]
    live = "INSERT INTO meter_live_state VALUES ('gone', now(), 1, 230, 'interval', now())"
    db.execute(live.encode())
    assert [one.device_id for one in list_devices(database_url)] == ["gone", "stays"]


def test_a_device_that_is_removed_while_a_run_registers_it_is_expected_no_longer(
    db: Connection, database_url: str
) -> None:
    """The run has read the registry before, and waits for another device's row."""
    now = datetime.now(UTC)
    register(db, "meter", {"another": now - 30 * HOUR, "gone": now - 30 * HOUR})

    def register_again() -> None:
        with connected(database_url) as connection:
            register(connection, "meter", {"another": now, "gone": now})

    def remove() -> None:
        remove_devices(database_url, [("meter", "gone")])

    with ThreadPoolExecutor() as pool:
        with connected(database_url) as holder, holder.transaction():
            holder.execute(b"SELECT FROM device WHERE device_id = 'another' FOR UPDATE")
            registering = pool.submit(register_again)
            wait_for(lambda: len(db.execute(WAITING).fetchall()) == 1)
            removing = pool.submit(remove)
            wait_for(lambda: removing.done() or len(db.execute(WAITING).fetchall()) == 2)
        registering.result()
        removing.result()
    rows = db.execute(query("expected_devices"), {"stream": "meter", "end": now + 3 * HOUR})
    assert [row["device_id"] for row in rows] == ["another"]


def test_all_that_is_known_of_a_removed_device_goes_and_its_open_alerts_are_resolved(
    db: Connection, database_url: str
) -> None:
    for statement in (
        "INSERT INTO meter_live_state VALUES ('M', now(), 1, 230, 'interval', now())",
        "INSERT INTO meter_live_state VALUES ('other', now(), 1, 230, 'interval', now())",
        "INSERT INTO vehicle_live_state (vehicle_id, timestamp, reading_type, received_at)"
        " VALUES ('M', now(), 'interval', now())",
        "INSERT INTO alert_pending VALUES ('r', 'meter', 'M', now(), now(), 1, 1)",
        "INSERT INTO alert_silence VALUES ('r', 'meter', 'M', now())",
        "INSERT INTO alert (rule, kind, device_kind, device_id, severity, since, observed_at,"
        " message) SELECT 'r', 'silent', kind, 'M', 'info', now(), now(), 'x'"
        " FROM unnest(ARRAY['meter', 'vehicle']) AS kind",
        "INSERT INTO rejection (id, received_at, stream, device, code, reason, record, sender)"
        " SELECT gen_random_uuid(), now(), 'meter', device, 'c', 'r', 'r', 's'"
        " FROM unnest(ARRAY['M', 'other']) AS device",
        "INSERT INTO named_link (vehicle_id, meter_id, first_named_at)"
        " VALUES ('V', 'M', now() - interval '1 day')",
    ):
        db.execute(statement.encode())
    removed = remove_devices(database_url, [("meter", "M")])
    assert (removed.devices, removed.alerts) == (1, 1)

    def left(table: str, column: str) -> list[Any]:
        rows = db.execute(f"SELECT {column} AS found FROM {table}".encode())  # noqa: S608
        return [row["found"] for row in rows]

    assert left("meter_live_state", "meter_id") == ["other"]
    assert left("vehicle_live_state", "vehicle_id") == ["M"]
    assert left("alert_pending", "rule") == left("alert_silence", "rule") == []
    assert left("alert WHERE resolved_at IS NULL", "device_kind") == ["vehicle"]
    assert left("alert_event", "type") == ["resolved"]
    assert left("rejection", "device") == ["other"]


@pytest.mark.usefixtures("next_hour_is_far")
def test_a_named_pair_counts_until_one_of_its_devices_is_removed_and_again_once_it_is_named(
    db: Connection, database_url: str
) -> None:
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    register(db, "meter", {"M1": now - HOUR})
    register(db, "vehicle", {"V1": now - HOUR})

    def name(at: datetime) -> None:
        with psycopg.connect(database_url, cursor_factory=psycopg.RawCursor) as connection:
            connection.execute(query("insert_named_links"), [["V1"], ["box"], [at]])

    def is_paired(at: datetime) -> bool:
        return bool(db.execute(query("pairs_of_hour"), {"end": at + HOUR}).fetchall())

    assert is_paired(hour)
    name(now - 2 * HOUR)
    remove_devices(database_url, [("meter", "box")])
    name(now - HOUR)  # late
    name(now - 3 * HOUR)
    assert [is_paired(hour), is_paired(hour + HOUR)] == [False, True]
    name(now + HOUR)
    assert not is_paired(hour + HOUR)
