"""The hooks of a run that is about a driver."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from wsklab.common.errors import UsageError
from wsklab.orchestrator.live import telling
from wsklab.orchestrator.live.conversation import LabLost
from wsklab.orchestrator.liveness.watchdog_link import paused
from wsklab.orchestrator.play.player import FAILURES
from wsklab.orchestrator.pytest_plugin import items
from wsklab.orchestrator.pytest_plugin.admission import admitted
from wsklab.orchestrator.pytest_plugin.fixtures import ERROR, TEST, WRONG
from wsklab.orchestrator.pytest_plugin.outcomes import LabFailed, attached, attachments, outcome, properties, reason
from wsklab.orchestrator.pytest_plugin.sharing import holder, wanted

TOLD = "what was told, and what was on the wire"
OUTPUT = "Captured stdout: "
"""JUnit takes a report's section for output when its name begins so (`junit_logging = system-out`)."""

STORY = pytest.StashKey[str]()


class Hooks:
    """What pytest calls; one object for each process."""

    def __init__(self, config: pytest.Config) -> None:
        """Check what the options ask for, before anything is collected. Raises pytest.UsageError."""
        self._config = config
        self._prompt = ExitStack()
        self._unloads: list[tuple[str, str]] = []
        self._folders: list[str] = []
        self.admission = ""
        for mark in (
            "shared: run on the state in which the test before has left the lab",
            "scenario(socket, connections, tags, covers): the frame of a test in Python, as in a scenario file",
        ):
            config.addinivalue_line("markers", mark)
        try:
            self._wanted = wanted(config)
            self._wanted.check()
        except UsageError as error:
            raise pytest.UsageError(f"wsklab: {error}") from None
        self._admit()

    # --- several workers ------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Let xdist have as many workers as the host carries labs; it makes them after this."""
        workers = getattr(self._config.option, "tx", None) or []
        if hasattr(self._config, "workerinput") or len(workers) < 2:
            return
        most, why = admitted(len(workers), self._wanted.target)
        if why:
            self._config.option.tx = workers[:most]
            self._config.option.numprocesses = most
            self.admission = f"{most} of {len(workers)} workers, as {why}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Keep what a worker of xdist has to tell at its end."""
        output = getattr(node, "workeroutput", None) or {}
        self._unloads += [tuple(one) for one in output.get("wsklab_unloads", [])]
        self._folders += output.get("wsklab_folders", [])

    # --- collecting -----------------------------------------------------------------------------------------------

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> items.ScenarioFile | None:
        """Collect scenario files."""
        return items.collected(file_path, parent)

    # --- running --------------------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """Behind a test in Python that found nothing wrong, have the lab judge what happened."""
        __tracebackhide__ = True
        result = yield
        told = pyfuncitem.stash.get(TEST, None)
        if told is not None:
            row = told.conclude(title=pyfuncitem.nodeid)
            match outcome(row, self._config.getoption("--wsklab-inconclusive")):
                case "failed":
                    pytest.fail(f"the test found nothing wrong, but the lab did: {reason(row)}", pytrace=False)
                case "error":
                    raise LabFailed(reason(row))
                case "skipped":
                    pytest.skip(reason(row))
                case "xfailed":
                    pytest.xfail(reason(row))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Tell what was seen beside a failure, and make an error of the lab's own fault."""
        report = yield
        told = item.stash.get(TEST, None)
        error = call.excinfo.value if call.excinfo is not None else None
        if report.failed and call.excinfo is not None and isinstance(error, LabFailed):
            ours = isinstance(item, items.ScenarioItem)
            report.longrepr = item.repr_failure(call.excinfo) if ours else str(error)
        if call.when == "call" and told is not None and told.result is None and report.failed:
            assert call.excinfo is not None, "it has failed"
            item.stash[WRONG] = call.excinfo.exconly().partition("\n")[0]
        if call.when == "call" and told is not None and report.failed:
            if _of_the_lab(error):
                report.when = "setup"  # pytest's word for what is no failure of the test, but an error
                item.stash[ERROR] = True
            item.stash[STORY] = f"{telling.told(told.conversation.facts)}\n\nevidence: {told.conversation.folder}"
            report.sections.append((TOLD, item.stash[STORY]))
        if call.when == "teardown":
            self._attach(item, report)
        return report

    def _attach(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Give JUnit what it keeps of a test: properties, the story of a failure, the evidence."""
        told, session = item.stash.get(TEST, None), holder(self._config).session
        row = told.result if told is not None else item.stash.get(items.ROW, None)
        if row is None or session is None:
            return
        if told is not None:
            item.user_properties += properties(row, session.folder)
            report.user_properties = list(item.user_properties)
        if STORY in item.stash:
            report.sections.append((f"{OUTPUT}{TOLD}", item.stash[STORY]))
        report.sections.append((f"{OUTPUT}evidence", attachments(attached(row, session.folder))))

    # --- at the prompt --------------------------------------------------------------------------------------------

    def pytest_enter_pdb(self) -> None:
        """Let no limit count while somebody looks."""
        self._prompt.enter_context(paused())

    def pytest_leave_pdb(self) -> None:
        """Let limits count again."""
        self._prompt.close()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        """Let limits count again: a post-mortem is not always left by a word."""
        self._prompt.close()

    # --- the end --------------------------------------------------------------------------------------------------

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Judge the driver's unload, and stop the lab; a driver that does not unload makes the run fail."""
        self._prompt.close()
        ours = holder(self._config).session
        if ours is not None:
            ours.close()
            self._folders.append(str(ours.folder))
            if ours.unloaded is not None:
                self._unloads.append((ours.unloaded.verdict, "; ".join(ours.unloaded.reasons)))
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output["wsklab_unloads"] = [list(one) for one in self._unloads]
            output["wsklab_folders"] = self._folders
        if any(verdict != "pass" for verdict, _ in self._unloads) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_report_header(self) -> list[str]:
        """Say what is under test."""
        line = f"wsklab: driver {self._wanted.driver} on {self._wanted.target}"
        return [line, f"wsklab: {self.admission}"] if self.admission else [line]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how the driver unloaded, and where the evidence is."""
        if not self._folders:
            return
        terminalreporter.section("wsklab")
        for verdict, why in self._unloads:
            terminalreporter.line(f"driver-unload: {verdict}{': ' + why if why else ''}")
        if self._wanted.target == "standin":
            terminalreporter.line("The target is the stand-in, not Windows: this does not qualify a driver.")
        for folder in self._folders:
            terminalreporter.line(f"Report: {folder}/report.html")


def _of_the_lab(error: BaseException | None) -> bool:
    """Whether what ended a test is the lab's own fault."""
    if isinstance(error, LabLost):
        return not error.blamed
    return isinstance(error, (LabFailed, *FAILURES))
