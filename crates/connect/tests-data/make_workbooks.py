"""Writes workbook.xls and workbook.ods: what the excel source is tested with besides its own xlsx.

Made with xlwt 1.3.0 and odfpy 1.4.1. Both hold the same sheet "Data": a text with leading zeros, a
whole number, a number with fraction, a date, a truth value, and an empty cell.
"""

import datetime
import pathlib

import xlwt
from odf.opendocument import OpenDocumentSpreadsheet
from odf.table import Table, TableCell, TableRow
from odf.text import P

HERE = pathlib.Path(__file__).parent
HEADER = ["code", "n", "price", "day", "paid"]
ROWS = [
    ["00123", 42, 19.5, datetime.date(2024, 5, 1), True],
    ["客户", -7, 0.25, datetime.date(1999, 12, 31), False],
    ["", 1, None, datetime.date(2024, 2, 29), True],
]


def xls():
    book = xlwt.Workbook()
    sheet = book.add_sheet("Data")
    day = xlwt.easyxf(num_format_str="YYYY-MM-DD")
    for column, name in enumerate(HEADER):
        sheet.write(0, column, name)
    for number, row in enumerate(ROWS, 1):
        for column, value in enumerate(row):
            if value is None or value == "":
                continue
            if isinstance(value, datetime.date):
                sheet.write(number, column, value, day)
            else:
                sheet.write(number, column, value)
    book.save(HERE / "workbook.xls")


def ods():
    document = OpenDocumentSpreadsheet()
    table = Table(name="Data")
    for row in [HEADER, *ROWS]:
        line = TableRow()
        for value in row:
            if value is None or value == "":
                cell = TableCell()
            elif isinstance(value, bool):
                cell = TableCell(valuetype="boolean", booleanvalue=str(value).lower())
            elif isinstance(value, datetime.date):
                cell = TableCell(valuetype="date", datevalue=value.isoformat())
            elif isinstance(value, (int, float)):
                cell = TableCell(valuetype="float", value=str(value))
            else:
                cell = TableCell(valuetype="string")
                cell.addElement(P(text=value))
            line.addElement(cell)
        table.addElement(line)
    document.spreadsheet.addElement(table)
    document.save(HERE / "workbook.ods")


xls()
ods()
