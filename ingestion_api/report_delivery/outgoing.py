"""A report that is to be delivered, and the two ways out: a mail and a webhook."""

import json
import smtplib
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx

from ingestion_api.alerts.webhooks import signature
from ingestion_api.settings import CollectorSettings
from lake.reports import FORMS

_TIMEOUT_SECONDS: Final = 20.0


@dataclass(frozen=True)
class OutgoingReport:
    """A version of a report for a subscription.

    `figures` and `changed` are texts as the report writes them, `files` its content by form. `key`
    is the same in each attempt, so that a receiver knows a repeat.
    """

    subscription: int
    period: str
    report: str
    depot: str | None
    version: int
    title: str
    name: str
    figures: Mapping[str, str]
    changed: Sequence[str]
    files: Mapping[str, bytes]

    @property
    def key(self) -> str:
        """The identity of the delivery."""
        return f"report-{self.subscription}-{self.report}-v{self.version}"

    def path(self, form: str) -> str:
        """The path of a form in the API."""
        of_depot = "" if self.depot is None else f"&depot={self.depot}"
        return f"/v1/reports/{self.report}.{form}?version={self.version}{of_depot}"


def send_mail(report: OutgoingReport, recipient: str, settings: CollectorSettings) -> str | None:
    """Send a mail with the files attached; return why it was not taken, if it was not.

    Never without TLS: by SMTPS, or by STARTTLS. What the server says may be told; its password not.
    """
    server = urlsplit(settings.smtp_url.get_secret_value())
    context = ssl.create_default_context(cafile=settings.smtp_ca_file or None)
    host = server.hostname or ""
    try:
        with (
            smtplib.SMTP_SSL(host, server.port or 465, timeout=_TIMEOUT_SECONDS, context=context)
            if server.scheme == "smtps"
            else smtplib.SMTP(host, server.port or 587, timeout=_TIMEOUT_SECONDS)
        ) as smtp:
            if server.scheme == "smtp":
                smtp.starttls(context=context)
            if server.username:
                smtp.login(unquote(server.username), unquote(server.password or ""))
            smtp.send_message(mail_of(report, recipient, settings))
    # ValueError: an address or a host that can't be written as the protocol wants it.
    except (smtplib.SMTPException, OSError, ValueError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
    return None


def mail_of(report: OutgoingReport, recipient: str, settings: CollectorSettings) -> EmailMessage:
    """The mail of a report: its first figures as text, its forms attached."""
    mail = EmailMessage()
    changed = " (changed)" if report.changed else ""
    mail["Subject"] = _line(f"Efficiency of {_named(report)}, {report.title}{changed}")
    mail["From"], mail["To"] = settings.report_mail_from, recipient
    mail["Message-ID"] = f"<{report.key}@wattlake>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n".join(_text(report, settings.public_url)) + "\n")
    for form, content in report.files.items():
        kind, _, of_kind = FORMS[form].partition(";")[0].partition("/")
        name = "-".join(part for part in ("efficiency", report.depot, report.report) if part)
        mail.add_attachment(content, maintype=kind, subtype=of_kind, filename=f"{name}.{form}")
    return mail


def post_webhook(report: OutgoingReport, url: str, settings: CollectorSettings) -> str | None:
    """Post a report's figures and the paths of its files; return why it was not taken, if so.

    Signed as alerts are. The URL, a secret, stays unsaid.
    """
    base = settings.public_url
    body = json.dumps(
        {
            "event": "report",
            "period": report.period,
            "report": report.report,
            "depot": report.depot,
            "version": report.version,
            "title": report.title,
            "name": report.name,
            "figures": report.figures,
            "changed": list(report.changed),
            "files": {form: f"{base}{report.path(form)}" for form in report.files},
        },
        ensure_ascii=False,
    ).encode()
    headers = {"content-type": "application/json", "Idempotency-Key": report.key}
    if secret := settings.report_webhook_secret.get_secret_value():
        headers["Wattlake-Signature"] = signature(secret.encode(), int(time.time()), body)
    try:
        answer = httpx.post(url, content=body, headers=headers, timeout=_TIMEOUT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return type(error).__name__
    return None if answer.is_success else f"HTTP {answer.status_code}"


def _text(report: OutgoingReport, base: str) -> list[str]:
    lines = [f"{report.title}: {_named(report)}", ""]
    if report.changed:
        lines += [report.changed[0], *(f"  {change}" for change in report.changed[1:]), ""]
    width = max((len(name) for name in report.figures), default=0)
    lines += [f"{name:<{width}}  {figure}" for name, figure in report.figures.items()]
    if base:
        of_depot = "" if report.depot is None else f"?depot={report.depot}"
        lines += ["", f"{base}/reports/{report.report}{of_depot}"]
    return lines


def _named(report: OutgoingReport) -> str:
    return "the fleet" if report.depot is None else report.name


def _line(text: str) -> str:
    return " ".join(text.split())
