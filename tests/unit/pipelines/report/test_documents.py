"""The PDF and the workbook of a report."""

import io
import xml.etree.ElementTree as ET
import zipfile

import polars as pl

from pipelines.report.content import content_of
from pipelines.report.pdf import pdf_document
from pipelines.report.tables import parquet_table, rows_of
from pipelines.report.workbook import workbook
from tests.unit.pipelines.report.report_samples import SETTINGS, figures
from tests.unit.vehicle_hour_samples import vehicle_hour

# Markup of typst, of XML and of a spreadsheet.
HOSTILE = '=1+1#panic("x")*_$&<b>'
CHARGED = figures(
    vehicle_hour(HOSTILE, ac=10, dc=7, meters=("@M1",)),
    vehicle_hour("VEH002", ac=1234.5, dc=1111, link="rule"),
    vehicle_hour("LOST", ac=10, matched_ac=3, dc=2.7),
)
CONTENT = content_of(CHARGED, 2, ("Changed since:", "bought 1 -> 2 kWh"), SETTINGS, "lake", "")


def test_a_pdf_is_the_same_for_the_same_figures_and_no_id_is_markup() -> None:
    first, second = (pdf_document(CONTENT, CHARGED, SETTINGS) for _ in range(2))

    assert first == second
    assert first.startswith(b"%PDF-")
    assert b"LibertinusSerif" in first  # embedded


def test_a_report_of_nothing_is_a_pdf_as_well() -> None:
    nothing = figures()
    content = content_of(nothing, 0, (), SETTINGS, "lake", "https://fleet.example")
    assert pdf_document(content, nothing, SETTINGS).startswith(b"%PDF-")
    assert workbook(content, nothing).startswith(b"PK")


def test_a_workbook_has_numbers_as_numbers_and_no_formula() -> None:
    content = workbook(CONTENT, CHARGED)

    assert content == workbook(CONTENT, CHARGED)
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        sheets = {
            name: ET.fromstring(book.read(name))
            for name in book.namelist()
            if name.startswith("xl/worksheets/sheet")
        }
        texts = [
            "".join(one.itertext()) for one in ET.fromstring(book.read("xl/sharedStrings.xml"))
        ]
        names = [
            one.get("name")
            for one in ET.fromstring(book.read("xl/workbook.xml")).iter()
            if one.tag.endswith("}sheet")
        ]
    assert names[:3] == ["Summary", "By hour", "Worth a visit"]
    assert HOSTILE in texts
    values = [cell for sheet in sheets.values() for cell in sheet.iter() if cell.tag.endswith("}v")]
    assert not [one for sheet in sheets.values() for one in sheet.iter() if one.tag.endswith("}f")]
    assert "1254.5" in {one.text for one in values}


def test_parquet_has_the_rows_of_the_csv_with_their_types() -> None:
    rows = rows_of(CHARGED)
    read = pl.read_parquet(io.BytesIO(parquet_table(rows)))

    assert read.equals(rows)
    assert read["meter_ids"].dtype == pl.List(pl.String)
