"""Settings of the collector."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
)
from pydantic_core import from_json
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from lake.settings import parse_json

Origin = Annotated[str, Field(pattern=r"^(\*|https?://[^/\s,]+)$")]


def _listed(value: object) -> object:
    """The parts of a text with commas, or of a JSON list."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return from_json(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _with_url(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


class AlertWebhook(BaseModel):
    """URL that alert events are posted to, of devices of any of the depots and of the groups."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(pattern="^https?://[^/]")
    depots: list[str] | None = None
    groups: list[str] | None = None


def _each_once(webhooks: list[AlertWebhook]) -> list[AlertWebhook]:
    if len({webhook.url for webhook in webhooks}) < len(webhooks):
        raise ValueError("a URL stands twice; name all its depots and groups in one place")
    return webhooks


class CollectorSettings(BaseSettings):
    """Read from the environment and `.env`; each name in capitals is the variable."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # the URL of a webhook is a secret
    )

    host: str = Field(default="127.0.0.1", description="address the collector listens on")
    port: int = Field(default=3000, ge=0, le=65535, description="port the collector listens on")
    own_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="a second port, of this process alone, beside the PORT that several share: "
        "/metrics are there; 0: PORT is not shared",
    )
    log_format: str = Field(
        default="console", pattern="^(console|json)$", description="console or json, on stderr"
    )

    cors_origins: Annotated[list[Origin], NoDecode, BeforeValidator(_listed)] = Field(
        default_factory=list,
        description="sites whose pages may ask from a browser, with a key, such as "
        "https://fleet.example; several with commas, * for every one; empty: none",
    )
    home_url: str = Field(
        default="",
        pattern=r"^(https?://.+[^/])?$",
        description="URL of the collectors that answer for all cells, where this one's database is "
        "another cell: it takes heartbeats and tells live states, and names that URL for all else; "
        "empty: it answers for all",
    )
    cell_seconds: float = Field(
        default=2,
        gt=0,
        le=5,
        description="how often the changes of the cells of CELL_DATABASE_URLS are merged",
    )

    max_connections: int = Field(
        default=8_000, ge=1, description="connections at one time; a further one gets 503"
    )
    keep_alive_seconds: int = Field(
        default=5, ge=1, description="a connection is closed so long after its last answer"
    )
    max_body_bytes: int = Field(
        default=16 * 1024 * 1024, ge=1024, description="largest request body; larger is 413"
    )
    body_timeout_seconds: float = Field(
        default=30,
        gt=0,
        description="a body that takes longer to arrive is 408; as long may the head of a request "
        "take, and an answer wait to be read, before the connection is closed",
    )
    arriving_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=1024,
        description="bytes of bodies that arrive or wait to be answered; beyond it is 503",
    )
    max_batch_records: int = Field(
        default=10_000, ge=1, description="most heartbeats in one request; more is 413"
    )
    new_devices_per_hour: int = Field(
        default=50_000,
        ge=0,
        description="devices never heard before that an API key brings in an hour, to each "
        "process of the collector; beyond it is 429, or a refusal within a batch; 0: any number",
    )
    future_tolerance_seconds: float = Field(
        default=300, ge=0, description="how far a device's clock may be ahead of the collector's"
    )

    commit_rows: int = Field(
        default=50_000,
        ge=1,
        description="heartbeats in one transaction, unless one request has more",
    )
    commit_timeout_seconds: float = Field(
        default=15, gt=0, description="a commit that takes longer is answered 503, outcome unknown"
    )
    queue_rows: int = Field(
        default=200_000, ge=1, description="heartbeats that may wait for a commit; beyond it is 503"
    )
    statement_rows: int = Field(
        default=5_000, ge=1, description="heartbeats in one SQL statement of a commit"
    )
    reconnect_max_seconds: float = Field(
        default=2, gt=0, description="longest pause between attempts to reach the database again"
    )
    retry_after_seconds: int = Field(default=1, ge=1, description="Retry-After of a 503 answer")

    flush_seconds: float = Field(
        default=60, gt=0, description="the lake writer flushes the outbox at least this often"
    )
    flush_rows: int = Field(
        default=250_000, ge=1, description="the lake writer flushes once so many heartbeats wait"
    )
    last_flush_seconds: float = Field(
        default=30, gt=0, description="longest time for the last flush at a stop"
    )
    outbox_rows: int = Field(
        default=50_000_000, ge=1, description="heartbeats the outbox may hold; beyond it is 503"
    )
    outbox_bytes: int = Field(
        default=10 * 1024**3, ge=1, description="bytes the outbox may take; beyond it is 503"
    )
    lake_lag_warning_seconds: float = Field(
        default=600, gt=0, description="age of the outbox from which /readyz warns"
    )
    hours_lag_warning_seconds: float = Field(
        default=1800,
        gt=0,
        description="from when on an hour that is over and not computed makes the figures late",
    )

    read_connections: int = Field(
        default=4, ge=1, description="database connections for reading requests"
    )
    online_intervals: float = Field(
        default=2,
        gt=0,
        description="a device is online up to so many of its cadences, at least of nominal ones",
    )
    silent_after_seconds: float = Field(
        default=600, gt=0, description="a device that is not online is late up to here, then silent"
    )
    silent_intervals: float = Field(
        default=4,
        gt=0,
        description="a slow device is silent, also for alerts, only after so many of its cadences",
    )
    longest_window_days: int = Field(
        default=31, ge=1, description="longest window that an analytics request may ask for"
    )

    answer_cache_bytes: int = Field(
        default=256 * 1024**2,
        ge=0,
        description="memory for heartbeats of the lake that requests have asked for; a third more "
        "for facts of vehicles",
    )
    index_hours: int = Field(
        default=26,
        ge=0,
        description="so many of the newest hours are indexed by device on the local disk, some 35 "
        "bytes a heartbeat; 26 answer for the last day, 0: none",
    )
    index_folder: Path = Field(
        default=Path("/var/tmp"), description="folder on the local disk that holds the index"
    )
    index_seconds: float = Field(
        default=20, gt=0, description="how often hours that were compacted meanwhile are looked for"
    )

    key_refresh_seconds: float = Field(
        default=2, gt=0, description="how often the API keys are read anew from the database"
    )

    rejections_per_device: int = Field(
        default=20, ge=1, description="newest rejected records of a device that are kept"
    )
    rejections_total: int = Field(
        default=100_000, ge=1, description="about how many rejected records are kept in all"
    )
    rejections_days: float = Field(
        default=30, gt=0, le=36_500, description="how long a rejected record is kept"
    )
    rejections_per_second: int = Field(
        default=200, ge=1, description="rejected records a second that are kept; all are counted"
    )

    alert_rules_file: str = Field(
        default="", description="YAML file of the alert rules; empty: those shipped with it"
    )
    alert_seconds: float = Field(
        default=0.5, gt=0, description="alert rules look at live state about so often"
    )
    alert_webhooks: Annotated[
        list[Annotated[AlertWebhook, BeforeValidator(_with_url)]],
        NoDecode,
        BeforeValidator(parse_json),
        AfterValidator(_each_once),
    ] = Field(
        default_factory=list,
        description="URLs that alert events are posted to, as a JSON list; in place of a URL "
        '{"url": ..., "depots": [...], "groups": [...]} for those of some devices',
    )
    alert_webhook_secret: SecretStr = Field(
        default=SecretStr(""),
        description="key of the signature of what is posted; empty: none is signed",
    )
    alert_webhook_attempts: int = Field(
        default=10, ge=1, description="attempts to post an event before it is a dead letter"
    )
    alert_days: float = Field(
        default=365, gt=0, le=36_500, description="how long a resolved alert is kept"
    )

    smtp_url: SecretStr = Field(
        default=SecretStr(""),
        description="server that sends reports by mail: smtps://user:password@host, or smtp:// "
        "with STARTTLS; empty: none is sent",
    )
    smtp_ca_file: str = Field(
        default="", description="PEM file of who signed that server's certificate; empty: as usual"
    )
    report_mail_from: str = Field(
        default="wattlake@localhost", description="address that reports are sent from"
    )
    report_webhook_secret: SecretStr = Field(
        default=SecretStr(""),
        description="key of the signature of reports that are posted; empty: none is signed",
    )
    report_delivery_seconds: float = Field(
        default=30, gt=0, description="new reports are looked for about so often"
    )
    report_delivery_attempts: int = Field(
        default=300,
        ge=1,
        description="attempts to deliver a report before it is given up; 300 take about a day",
    )
    public_url: str = Field(
        default="",
        pattern=r"^(https?://.+[^/])?$",
        description="URL of the collector's pages as people reach them, for the links of reports; "
        "empty: links lead from the collector's own pages only",
    )

    @field_validator("smtp_url")
    @classmethod
    def _is_smtp(cls, url: SecretStr) -> SecretStr:
        given = urlsplit(url.get_secret_value())
        if url.get_secret_value() and (given.scheme not in ("smtp", "smtps") or not given.hostname):
            raise ValueError("must be smtp://host or smtps://host, with user:password@ before it")
        return url
