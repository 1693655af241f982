"""Reports are delivered by mail and webhook: each version once, and nothing without TLS."""

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ingestion_api.report_delivery.outgoing import OutgoingReport, send_mail
from ingestion_api.settings import CollectorSettings
from tests.harness.collector import Collector, running_collector
from tests.harness.heartbeats import moment
from tests.harness.mail_server import MailServer, mail_server
from tests.harness.postgres import copied_database
from tests.harness.reports import put_report
from tests.harness.waiting import wait_for
from tests.harness.webhook_receiver import receiver

SECRET = "between us"
SUBSCRIPTIONS = "/v1/report-subscriptions"


@pytest.fixture(scope="module")
def mails(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailServer]:
    with mail_server(tmp_path_factory.mktemp("mail")) as server:
        yield server


@pytest.fixture(scope="module")
def api(
    postgres: str,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
    mails: MailServer,
) -> Iterator[Collector]:
    settings = {
        "SMTP_URL": mails.url,
        "SMTP_CA_FILE": str(mails.certificate),
        "REPORT_MAIL_FROM": "wattlake@example.com",
        "REPORT_WEBHOOK_SECRET": SECRET,
        "REPORT_DELIVERY_SECONDS": "0.1",
        "REPORT_DELIVERY_ATTEMPTS": "2",
        "PUBLIC_URL": "https://fleet.example",
    }
    with (
        copied_database(postgres, migrated_template) as url,
        running_collector(url, tmp_path_factory.mktemp("delivery"), **settings) as collector,
    ):
        for depot in ("north", "south", "east"):
            collector.http.put(f"/v1/depots/{depot}", json={"name": f"Depot {depot}"})
        yield collector


def subscribe(api: Collector, **wanted: Any) -> int:
    """Subscribe, as if it had been done two days ago."""
    answer = api.http.post(SUBSCRIPTIONS, json=wanted)
    assert answer.status_code == 200, answer.text
    number: int = answer.json()["id"]
    api.sql(
        "UPDATE report_subscription SET created_at = now() - interval '2 days' WHERE id = %s",
        number,
    )
    return number


def subscription(api: Collector, number: int) -> dict[str, Any]:
    listed = api.http.get(SUBSCRIPTIONS).json()["subscriptions"]
    (found,) = [one for one in listed if one["id"] == number]
    assert isinstance(found, dict)
    return found


def version(api: Collector, key: str, depot: str, number: int, bought: str) -> None:
    note = {
        "version": number,
        "madeAt": moment(-86_400),
        "title": "Thursday, 15 January 2026",
        "name": f"Depot {depot}",
        "figures": {"bought": bought, "lost": "1.0 kWh"},
    }
    forms: dict[str, str | bytes] = {"pdf": b"%PDF-1.7", "csv": "a,b\n"}
    put_report(api.lake_folder, key, forms, depot=depot, version=number, note=note)


def test_a_version_is_mailed_once_and_again_when_its_figures_change(
    api: Collector, mails: MailServer
) -> None:
    version(api, "2026-01-15", "north", 1, "8.0 kWh")
    version(api, "2026-01-15", "north", 2, "9.0 kWh")
    wanted = {"period": "day", "depot": "north", "formats": ["pdf", "csv"]}
    number = subscribe(api, recipient="north@example.com", **wanted)

    def mine() -> list[Any]:
        return [mail for mail in mails.taken if mail["To"] == "north@example.com"]

    wait_for(lambda: len(mine()) == 1)
    (mail,) = mine()
    assert mail["From"] == "wattlake@example.com"
    assert mail["Subject"] == "Efficiency of Depot north, Thursday, 15 January 2026"
    assert mail["Message-ID"] == f"<report-{number}-2026-01-15-v2@wattlake>"
    text, pdf, csv = mail.iter_parts()
    assert "bought  9.0 kWh" in text.get_content()
    assert "https://fleet.example/reports/2026-01-15?depot=north" in text.get_content()
    assert (pdf.get_content_type(), pdf.get_content()) == ("application/pdf", b"%PDF-1.7")
    assert csv.get_filename() == "efficiency-north-2026-01-15.csv"

    # Other rows and the same figures: nothing to tell. A note that was damaged is read once mended.
    forms: dict[str, str | bytes] = {"pdf": b"%PDF-1.7", "csv": "a,b\n"}
    put_report(api.lake_folder, "2026-01-15", forms, depot="north", version=3, note="{")
    wait_for(lambda: "v3/figures.json is damaged" in api.log.read_text())
    version(api, "2026-01-15", "north", 3, "9.0 kWh")
    wait_for(lambda: subscription(api, number)["lastDelivered"]["version"] == 3)
    version(api, "2026-01-15", "north", 4, "9.5 kWh")
    wait_for(lambda: len(mine()) == 2)
    again = mine()[1]
    assert again["Subject"].endswith("(changed)")
    text = next(again.iter_parts()).get_content()
    assert "Changed since version 3 of " in text
    assert "bought 9.0 \N{RIGHTWARDS ARROW} 9.5 kWh" in text
    assert subscription(api, number)["lastDelivered"]["report"] == "2026-01-15"
    assert subscription(api, number)["notDelivered"] is None


def test_a_mail_that_is_not_taken_is_told_tried_again_and_holds_up_no_other(
    api: Collector, mails: MailServer
) -> None:
    mails.refused = {"full@example.com": "452 mailbox full", "gone@example.com": "550 who"}
    version(api, "2026-W03", "south", 1, "9.0 kWh")
    full, gone, fine = (
        subscribe(api, period="week", depot="south", recipient=f"{name}@example.com")
        for name in ("full", "gone", "fine")
    )
    wait_for(lambda: any(mail["To"] == "fine@example.com" for mail in mails.taken))
    wait_for(lambda: subscription(api, full)["notDelivered"] is not None)
    told = subscription(api, full)["notDelivered"]
    assert told["report"] == "2026-W03"
    assert "452" in told["error"]
    assert subscription(api, fine)["notDelivered"] is None
    del mails.refused["full@example.com"]
    # The second attempt is the last one here.
    wait_for(lambda: any(mail["To"] == "full@example.com" for mail in mails.taken))
    wait_for(lambda: subscription(api, gone)["notDelivered"]["error"].startswith("given up: "))
    assert not any(mail["To"] == "gone@example.com" for mail in mails.taken)


def test_a_webhook_gets_the_figures_signed_and_its_url_stays_a_secret(api: Collector) -> None:
    version(api, "2026-01", "east", 1, "9.0 kWh")
    with receiver(500) as hook:
        number = subscribe(api, period="month", depot="east", recipient=hook.url)
        wait_for(lambda: len(hook.taken) == 1)
        (told,), (key,), ((signed, body),) = hook.taken, hook.keys, hook.signed
    assert told["figures"] == {"bought": "9.0 kWh", "lost": "1.0 kWh"}
    assert told["files"] == {
        "pdf": "https://fleet.example/v1/reports/2026-01.pdf?version=1&depot=east"
    }
    assert key == f"report-{number}-2026-01-v1"
    assert signed is not None
    moment, mac = (part.split("=")[1] for part in signed.split(","))
    expected = hmac.new(SECRET.encode(), f"{moment}.".encode() + body, hashlib.sha256)
    assert mac == expected.hexdigest()
    assert "secret" not in api.http.get(SUBSCRIPTIONS).text


def test_reports_of_before_the_subscription_and_of_later_hours_wait(
    api: Collector, mails: MailServer
) -> None:
    version(api, "2026-01-16", "east", 1, "9.0 kWh")
    wanted = {"period": "day", "depot": "east", "hourUtc": 6}
    answer = api.http.post(SUBSCRIPTIONS, json={**wanted, "recipient": "new@example.com"})
    number = answer.json()["id"]
    other = subscribe(api, **wanted, recipient="old@example.com")
    wait_for(lambda: subscription(api, other)["lastDelivered"] is not None)
    assert subscription(api, number)["lastDelivered"] is None

    ended = api.http.delete(f"{SUBSCRIPTIONS}/{number}")
    assert ended.json()["recipient"] == "new@example.com"
    assert api.http.delete(f"{SUBSCRIPTIONS}/{number}").status_code == 404


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("recipient", "no address", "recipient"),
        ("recipient", "two@example.com, three@example.com", "recipient"),
        ("recipient", "ftp://host/x", "recipient"),
        ("recipient", "https://[", "recipient"),
        ("recipient", "https:///path", "recipient"),
        ("depot", "nowhere", "there is no depot nowhere"),
        ("period", "year", "period"),
        ("hourUtc", 24, "hourUtc"),
        ("formats", [], "formats"),
    ],
)
def test_a_wrong_subscription_is_refused_with_the_field(
    api: Collector, field: str, value: object, said: str
) -> None:
    wanted = {"period": "day", "recipient": "a@example.com", field: value}
    answer = api.http.post(SUBSCRIPTIONS, json=wanted)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_nothing_is_sent_without_tls(postgres: str, migrated_template: str, tmp_path: Path) -> None:
    with (
        mail_server(tmp_path, tls=None) as server,
        copied_database(postgres, migrated_template) as url,
        running_collector(
            url, tmp_path, SMTP_URL=server.url, REPORT_DELIVERY_SECONDS="0.1"
        ) as plain,
    ):
        plain.http.put("/v1/depots/north", json={})
        version(plain, "2026-01-15", "north", 1, "9.0 kWh")
        number = subscribe(plain, period="day", depot="north", recipient="north@example.com")
        wait_for(lambda: subscription(plain, number)["notDelivered"] is not None)
        assert "STARTTLS" in subscription(plain, number)["notDelivered"]["error"]
        assert server.taken == []


def test_smtps_is_tls_from_the_first_byte_with_a_certificate_that_is_known(tmp_path: Path) -> None:
    report = OutgoingReport(
        *(1, "day", "2026-01-15", None, 1, "Thursday, 15 January 2026", "The fleet"),
        figures={"bought": "9.0 kWh"},
        changed=(),
        files={"pdf": b"%PDF-1.7"},
    )
    with mail_server(tmp_path, tls="smtps") as server:
        stranger = CollectorSettings(
            database_url="postgresql://nowhere",
            smtp_url=SecretStr(server.url),
            report_mail_from="wattlake@example.com",
        )
        known = stranger.model_copy(update={"smtp_ca_file": str(server.certificate)})
        refused = send_mail(report, "fleet@example.com", stranger)
        assert refused is not None
        assert "certificate" in refused
        assert server.taken == []
        assert send_mail(report, "fleet@example.com", known) is None
        (mail,) = server.taken
    assert mail["Subject"] == "Efficiency of the fleet, Thursday, 15 January 2026"
    assert [part.get_content_type() for part in mail.iter_parts()] == [
        "text/plain",
        "application/pdf",
    ]
