"""What is reported of an evaluation: JSON, a table of classes, a reliability diagram, a text."""

import csv
import io
import json
import os
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from dali_msda.commands import sheets

JSON, TABLE = "evaluation.json", "classes.csv"
DIAGRAM, IMAGES = "reliability.png", "images.png"
SIDE, EDGE, FOOT, GAP = 480, 70, 120, 24  # pixels: the plot, its margins, the histogram, between
BLUE, RED, INK, LINE = sheets.SOURCES[0], "#c0392b", sheets.INK, sheets.LINE


def expect_writable(folder: str) -> Path:
    """Make the folder of a report: now, not after an hour.

    Raises:
        OSError: If nothing can be written there.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"out: expected a folder that can be written to, got {folder!r}: {error.strerror}. "
            "Give another --out."
        ) from error
    return Path(folder)


def write(report: dict, images: Image.Image, folder: Path) -> list[Path]:
    """Write a report's files, each whole or not at all, and return their paths.

    Args:
        report: What was measured.
        images: A sheet of some images.
        folder: Where to write.

    Raises:
        OSError: If one cannot be written.
    """
    table, rows = io.StringIO(), report["by_class"]
    writer = csv.DictWriter(table, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    sheets.save(images, folder / IMAGES)
    sheets.save(reliability(report), folder / DIAGRAM)
    _write_text(folder / TABLE, table.getvalue())
    _write_text(folder / JSON, json.dumps(report, indent=1, allow_nan=False) + "\n")
    return [folder / name for name in (JSON, TABLE, DIAGRAM, IMAGES)]


def text_of(report: dict) -> str:
    """The measures in a few lines."""
    clean = report["clean"]
    lines = [
        f"{report['model']}, {report['weights']} weights: {clean['images']} images, answers among "
        f"{report['answers_among']} of {report['classes']} classes",
        _line("clean", clean) + f"  top-5 {clean['top5']:.2f} %  ECE {clean['ece']:.2f} %",
    ]
    lines += [_line(f"FGSM {step}/255", row) for step, row in report.get("fgsm", {}).items()]
    lines += [_line(f"background {how}", row) for how, row in report.get("background", {}).items()]
    if found := report.get("localisation"):
        lines.append(
            f"localised: {found['published']:.2f} % with an overlap above 0.25; "
            f"{found['released']:.2f} % with one of 0.5 and the right class"
        )
    worst = [row for row in report["by_class"] if row["images"]]
    worst = sorted(worst, key=lambda row: row["top1"])[:5]
    lines.append(
        "least top-1: " + ", ".join(f"{row['class']} {row['top1']:.0f} %" for row in worst)
    )
    return "\n".join(lines)


def reliability(report: dict) -> Image.Image:
    """Draw accuracy over confidence, and below it how many images have it."""
    rows, clean = report["calibration"], report["clean"]
    picture = Image.new("RGB", (SIDE + 2 * EDGE, SIDE + FOOT + GAP + 2 * EDGE), sheets.PAPER)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(sheets.TEXT_SIZE)
    left, top, low = EDGE, EDGE, EDGE + SIDE
    foot = low + GAP + FOOT
    most = max(row["images"] for row in rows)
    for row in rows:
        if row["images"]:
            x0, x1 = (left + SIDE * row[edge] for edge in ("above", "to"))
            right, sure = (low - SIDE * row[what] / 100 for what in ("accuracy", "confidence"))
            pen.rectangle((x0 + 1, right, x1 - 1, low), BLUE)
            pen.line((x0 + 1, sure, x1 - 1, sure), RED, 3)
            pen.rectangle((x0 + 1, foot - FOOT * row["images"] / most, x1 - 1, foot), LINE)
    pen.line((left, low, left + SIDE, top), INK, 1)
    for y0, y1 in ((top, low), (foot - FOOT, foot)):
        pen.rectangle((left, y0, left + SIDE, y1), outline=INK)
    for share in (0, 25, 50, 75, 100):
        step = SIDE * share // 100
        pen.text((left - 8, low - step), f"{share} %", INK, font, anchor="rm")
        pen.text((left + step, foot + 8), f"{share} %", INK, font, anchor="mt")
    pen.text((left - 8, foot - FOOT), str(most), INK, font, anchor="rm")
    pen.text((left, top - 44), "Accuracy of answers by their confidence", INK, font)
    told = f"ECE {clean['ece']:.2f} %; bars: accuracy, red: mean confidence, below: images"
    pen.text((left, top - 22), told, INK, font)
    pen.text((left + SIDE / 2, foot + 34), "confidence", INK, font, anchor="mt")
    return picture


def _line(name: str, row: dict) -> str:
    return f"{name}: top-1 {row['top1']:.2f} %  loss {row['loss']:.4f}"


def _write_text(path: Path, text: str) -> None:
    try:
        handle, scratch = tempfile.mkstemp(".part", f".{path.stem}.", path.parent)
        try:
            with open(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
            os.chmod(scratch, 0o644)  # mkstemp makes it private
            os.replace(scratch, path)
        except BaseException:
            os.unlink(scratch)
            raise
    except OSError as error:
        raise OSError(f"{path}: expected to write the report, got {error.strerror}") from error
