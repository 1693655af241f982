"""A tariff has one price for each moment, on every day of the clock."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import HOUR
from lake.costs.tariff import WEEK, BadTariff, Band, Tariff, TariffPeriod, Tariffs, read_tariffs

BASE, PEAK = Decimal("0.21"), Decimal("0.385")
PEAK_HOURS = Band(days=WEEK[:5], from_hour=7, to_hour=20, price_per_kwh=PEAK)
DAY_2020 = datetime(2020, 1, 1, tzinfo=UTC)
ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe"]
YAML = """
currency: EUR
time_zone: Europe/Berlin
periods:
  - valid_from: 2026-01-01
    price_per_kwh: 0.21
    bands:
      - {days: [mon, tue, wed, thu, fri], from_hour: 7, to_hour: 20, price_per_kwh: 0.385}
"""


def tariff(zone: str = "Europe/Berlin", *periods: TariffPeriod) -> Tariff:
    usual = TariffPeriod(valid_from=date(2000, 1, 1), price_per_kwh=BASE, bands=(PEAK_HOURS,))
    return Tariff(currency="EUR", time_zone=zone, periods=periods or (usual,))


def prices_of_day(day: date, of: Tariff) -> Counter[Decimal | None]:
    """Count the quarters of a local day that each price holds, along UTC."""
    zone = ZoneInfo(of.time_zone)
    start = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    after = day + timedelta(days=1)
    end = datetime(after.year, after.month, after.day, tzinfo=zone).astimezone(UTC)
    quarters = (end - start) // timedelta(minutes=15)
    return Counter(of.price_at(start + timedelta(minutes=15 * n)) for n in range(quarters))


@st.composite
def bands(draw: st.DrawFn) -> tuple[Band, ...]:
    """Bands that share no hour; some tariffs have one over midnight."""
    edges = sorted(draw(st.sets(st.integers(0, 24), min_size=2, max_size=6)))
    price = st.decimals("-1", "1", places=3, allow_nan=False)
    night: tuple[Band, ...] = ()
    if draw(st.booleans()) and edges[0] > 0 and edges[-1] < 24:
        to_hour, *edges, from_hour = edges
        some = draw(st.sets(st.sampled_from(WEEK), min_size=1))
        night = (
            Band(days=tuple(some), from_hour=from_hour, to_hour=to_hour, price_per_kwh=draw(price)),
        )
    days = draw(st.permutations(WEEK))
    cut = draw(st.integers(1, 6))
    return night + tuple(
        Band(days=tuple(some), from_hour=first, to_hour=last, price_per_kwh=draw(price))
        for some in (days[:cut], days[cut:])
        for first, last in zip(edges[::2], edges[1::2], strict=False)
    )


def hours_of_week(band: Band) -> set[int]:
    """The hours of the week, from Monday's first, that a band holds."""
    length = (band.to_hour - band.from_hour) % 24 or 24
    begins = [24 * WEEK.index(day) + band.from_hour for day in band.days]
    return {(begin + n) % (7 * 24) for begin in begins for n in range(length)}


@given(
    bands(),
    st.sampled_from(ZONES),
    st.integers(0, 20 * 366 * 24 * 60).map(lambda n: DAY_2020 + timedelta(minutes=n)),
)
def test_each_moment_has_the_price_of_its_one_band_or_else_the_common_price(
    some: tuple[Band, ...], zone: str, moment: datetime
) -> None:
    of = tariff(zone, TariffPeriod(valid_from=date(2000, 1, 1), price_per_kwh=BASE, bands=some))
    local = moment.astimezone(ZoneInfo(zone))
    holding = [
        band.price_per_kwh
        for band in some
        if 24 * local.weekday() + local.hour in hours_of_week(band)
    ]
    assert len(holding) <= 1
    assert of.price_at(moment) == (holding[0] if holding else BASE)
    hour = moment.replace(minute=0, second=0, microsecond=0)
    parts = [of.price_at(hour + timedelta(minutes=n)) for n in range(0, 60, 5)]
    assert of.price_of_hour(hour) == sum(p for p in parts if p is not None) / Decimal(12)


def test_a_weekday_has_13_hours_of_peak_and_the_rest_of_its_23_to_25_hours_of_base() -> None:
    of = tariff()
    assert prices_of_day(date(2026, 3, 27), of) == {PEAK: 52, BASE: 44}
    assert prices_of_day(date(2026, 3, 28), of) == {BASE: 96}
    every_day = Band(from_hour=2, to_hour=4, price_per_kwh=PEAK)
    night = tariff(
        "Europe/Berlin",
        TariffPeriod(valid_from=date(2000, 1, 1), price_per_kwh=BASE, bands=(every_day,)),
    )
    assert prices_of_day(date(2026, 3, 28), night) == {PEAK: 8, BASE: 88}
    assert prices_of_day(date(2026, 3, 29), night) == {PEAK: 4, BASE: 88}  # 2:00 to 3:00 is not
    assert prices_of_day(date(2026, 10, 25), night) == {PEAK: 12, BASE: 88}  # and here twice


def test_a_band_over_midnight_is_of_the_day_on_which_it_begins() -> None:
    saturday_night = Band(days=("sat",), from_hour=22, to_hour=6, price_per_kwh=PEAK)
    of = tariff(
        "Europe/Berlin",
        TariffPeriod(valid_from=date(2000, 1, 1), price_per_kwh=BASE, bands=(saturday_night,)),
    )
    days = [date(2026, 10, 23) + timedelta(days=n) for n in range(4)]
    # On Sunday the clocks go back: of its 25 hours the night has seven.
    assert [prices_of_day(day, of)[PEAK] for day in days] == [0, 8, 28, 0]
    spring = [date(2026, 3, 28), date(2026, 3, 29)]
    assert [prices_of_day(day, of)[PEAK] for day in spring] == [8, 20]


def test_where_an_hour_straddles_a_change_its_price_is_the_mean_of_its_quarters() -> None:
    seven_in_kathmandu = datetime(2026, 3, 2, 1, tzinfo=UTC)  # 6:45 to 7:45 there
    of = tariff("Asia/Kathmandu")
    assert of.price_of_hour(seven_in_kathmandu) == (BASE + 3 * PEAK) / 4
    assert of.price_of_hour(seven_in_kathmandu + HOUR) == PEAK


def test_a_new_price_holds_from_local_midnight_on_and_before_the_first_there_is_none() -> None:
    of = tariff(
        "Europe/Berlin",
        TariffPeriod(valid_from=date(2026, 2, 1), price_per_kwh=PEAK),
        TariffPeriod(valid_from=date(2026, 1, 1), price_per_kwh=BASE),
    )
    prices = [
        of.price_of_hour(datetime(2025, 12, 31, 23, tzinfo=UTC) + HOUR * n)
        for n in (-1, 0, 31 * 24 - 1, 31 * 24)
    ]
    assert prices == [None, BASE, BASE, PEAK]


def test_a_tariff_is_read_from_yaml_and_from_json(tmp_path: Path) -> None:
    file = tmp_path / "tariff.yaml"
    file.write_text(YAML)
    read = read_tariffs(file)
    assert read.default is not None
    assert read.tariffs[read.default].price_at(datetime(2026, 3, 27, 6, tzinfo=UTC)) == PEAK
    file.write_text(read.model_dump_json())
    assert read_tariffs(file) == read


def test_a_file_may_have_several_tariffs_by_name(tmp_path: Path) -> None:
    file = tmp_path / "tariffs.yaml"
    one = "".join(f"    {line}\n" for line in YAML.strip().splitlines())
    other = one.replace("EUR", "CHF").replace("0.385", "0.4")
    file.write_text(f"default: berlin\ntariffs:\n  berlin:\n{one}  zurich:\n{other}")
    read = read_tariffs(file)
    assert {name: of.currency for name, of in read.tariffs.items()} == {
        "berlin": "EUR",
        "zurich": "CHF",
    }
    assert read.default == "berlin"
    for wrong, reason in (
        (("default: berlin", "default: bern"), "there is no tariff 'bern'"),
        (("zurich:", "Zürich!:"), "tariffs.Zürich!"),
        (("CHF", "Franken"), "tariffs.zurich.currency"),
    ):
        bad = tmp_path / "bad.yaml"
        bad.write_text(file.read_text().replace(*wrong))
        with pytest.raises(BadTariff, match=reason):
            read_tariffs(bad)
    assert Tariffs(tariffs=read.tariffs).default is None


@pytest.mark.parametrize(
    ("wrong", "place", "reason"),
    [
        (("EUR", "Euro"), "currency", "match"),
        (("Europe/Berlin", "Europe/Nowhere"), "time_zone", "no time zone"),
        (("to_hour: 20", "to_hour: 7"), "periods.0.bands.0", "must not be from_hour"),
        (("to_hour: 20", "to_hour: 25"), "periods.0.bands.0.to_hour", "24"),
        (("7, to_hour", "7.5, to_hour"), "periods.0.bands.0.from_hour", "integer"),
        (("[mon, tue", "[monday, tue"), "periods.0.bands.0.days.0", "mon"),
        (("price_per_kwh: 0.21", "price: 0.21"), "periods.0.price_per_kwh", "required"),
        (("0.21", "0.2100001"), "periods.0.price_per_kwh", "6 decimal places"),
        (("0.21", ".nan"), "periods.0.price_per_kwh", "finite"),
        (("periods:", "periods: ["), "tariff.yaml", "line"),
        (("currency: EUR", "- EUR"), "tariff.yaml", "line"),
    ],
)
def test_a_wrong_tariff_is_refused_with_its_file_the_place_and_the_reason(
    tmp_path: Path, wrong: tuple[str, str], place: str, reason: str
) -> None:
    file = tmp_path / "tariff.yaml"
    file.write_text(YAML.replace(*wrong))
    with pytest.raises(BadTariff) as refused:
        read_tariffs(file)
    assert str(file) in str(refused.value)
    assert place in str(refused.value)
    assert reason in str(refused.value)


def test_bands_that_share_an_hour_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    other = Band(days=("fri", "sat"), from_hour=19, to_hour=22, price_per_kwh=BASE)
    with pytest.raises(ValueError, match="two bands hold fri 19:00"):
        TariffPeriod(valid_from=date(2026, 1, 1), price_per_kwh=BASE, bands=(PEAK_HOURS, other))
    with pytest.raises(BadTariff, match="No such file"):
        read_tariffs(tmp_path / "none.yaml")
