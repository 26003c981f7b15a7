"""`junit.xml` for build servers: fail is a failure, inconclusive, infra and what was not run are errors.

Evidence is attached by path, a file for each row that did not pass (`attachments.py`).
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping

from wsklab.common.text import visible
from wsklab.orchestrator.results.results import Results, ScenarioResult

# XML 1.0 section 2.2: characters that may not stand in a document at all, escaped or not.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

END = "</testsuite>"


def junit(results: Results, attached: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield the document in pieces; `attached` has the file for a row's evidence, as the build server finds it."""
    totals, target = results.totals, str(results.target.get("name", ""))
    missing = _missing(results, target)
    suite = ET.Element(
        "testsuite",
        {
            "name": "wsklab",
            "tests": str(totals["all"] + len(missing)),
            "failures": str(totals["fail"] + sum(map(_surprising, results.scenarios))),
            "skipped": str(totals.get("known", 0)),
            "errors": str(totals["inconclusive"] + totals["infra"] + len(missing)),
            "time": f"{sum(r.timing.get('total_s', 0.0) for r in results.scenarios):.3f}",
        },
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in (
        ("state", results.state),
        ("why", results.why),
        ("asked", results.plan.asked),
        ("target", results.target.get("name")),
        ("target.qualifying", results.target.get("qualifying")),
        ("driver.sha256", results.driver.get("sha256")),
        ("driver.twin", results.driver.get("twin")),
        ("accelerator", results.run.get("accelerator")),
    ):
        ET.SubElement(properties, "property", {"name": name, "value": _clean(str(value))})
    yield '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suite, encoding="unicode").removesuffix(END)
    for result in results.scenarios:
        yield ET.tostring(_case(result, target, attached or {}), encoding="unicode")
    for case in missing:
        yield ET.tostring(case, encoding="unicode")
    yield f"{END}\n"


def _case(result: ScenarioResult, target: str, attached: Mapping[str, str]) -> ET.Element:
    name = result.label if result.repeat == 1 else f"{result.label}#{result.repeat}"
    case = _testcase(target, name, result.timing.get("total_s", 0.0))
    archive = attached.get(result.evidence)
    properties = ET.SubElement(case, "properties")
    for key, value in (("evidence", result.evidence), *([("attachment", archive)] if archive else [])):
        ET.SubElement(properties, "property", {"name": key, "value": _clean(value)})
    if result.known and result.excused:
        ET.SubElement(case, "skipped", {"message": _clean(f"known {result.verdict}: {result.known.said}")})
    elif result.known and _surprising(result):
        ET.SubElement(case, "failure", {"type": result.known.kind, "message": _clean(result.known.said)})
    elif result.verdict != "pass":
        tag = "failure" if result.verdict == "fail" else "error"
        message = _clean(result.story.text if result.story else "; ".join(result.reasons))
        # GitLab shows the body and not the message, so all of it stands there.
        body = _clean("\n".join((*(result.story.lines if result.story else ()), *result.reasons)))
        ET.SubElement(case, tag, {"type": result.verdict, "message": message}).text = body
    if archive:  # on a line of its own, and first: Jenkins cuts long texts in the middle
        ET.SubElement(case, "system-out").text = f"[[ATTACHMENT|{_clean(archive)}]]\n"
    return case


def _surprising(result: ScenarioResult) -> bool:
    """Tell whether a pass breaks the run: it was known to fail, or what was known of it is out of date."""
    return result.verdict == "pass" and result.known is not None


def _missing(results: Results, target: str) -> list[ET.Element]:
    """Return an error for each scenario that was not run as often as it was asked for, and one for a run cut short."""
    why = results.shortfall
    if why is None:
        return []
    cases = []
    for name, count in results.missing.items() or {"the whole run": 0}.items():
        case = _testcase(target, name if count < 2 else f"{name} ({count} times)", 0.0)
        ET.SubElement(case, "error", {"type": "not-run", "message": _clean(f"not run; {why}")})
        cases.append(case)
    return cases


def _testcase(target: str, name: str, seconds: float) -> ET.Element:
    return ET.Element(
        "testcase", {"classname": _clean(f"wsklab.{target}"), "name": _clean(name), "time": f"{seconds:.3f}"}
    )


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("?", visible(text, lines=True))
