"""`junit.xml` for build servers: fail is a failure, inconclusive and infra are errors; evidence is attached by path."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from wsklab.common.text import visible
from wsklab.orchestrator.results import Results, ScenarioResult

# XML 1.0 section 2.2: characters that may not stand in a document at all, escaped or not.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(results: Results) -> str:
    """The document as text."""
    totals = results.totals
    suite = ET.Element("testsuite", {
        "name": "wsklab",
        "tests": str(totals["all"]),
        "failures": str(totals["fail"]),
        "errors": str(totals["inconclusive"] + totals["infra"]),
        "time": f"{sum(r.timing.get('total_s', 0.0) for r in results.scenarios):.3f}",
    })
    properties = ET.SubElement(suite, "properties")
    for name, value in (
        ("target", results.target.get("name")),
        ("target.qualifying", results.target.get("qualifying")),
        ("driver.sha256", results.driver.get("sha256")),
        ("driver.twin", results.driver.get("twin")),
        ("accelerator", results.run.get("accelerator")),
    ):
        ET.SubElement(properties, "property", {"name": name, "value": _clean(str(value))})
    for result in results.scenarios:
        suite.append(_case(result, results.target.get("name", "")))
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"


def _case(result: ScenarioResult, target: str) -> ET.Element:
    name = result.name if result.repeat == 1 else f"{result.name}#{result.repeat}"
    case = ET.Element("testcase", {
        "classname": f"wsklab.{target}",
        "name": name,
        "time": f"{result.timing.get('total_s', 0.0):.3f}",
    })
    if result.verdict != "pass":
        tag = "failure" if result.verdict == "fail" else "error"
        message = _clean("; ".join(result.reasons))
        ET.SubElement(case, tag, {"type": result.verdict, "message": message}).text = message
    # Jenkins and Azure pick attachments up from this line.
    ET.SubElement(case, "system-out").text = f"[[ATTACHMENT|{_clean(result.evidence)}]]"
    return case


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("?", visible(text, lines=True))
