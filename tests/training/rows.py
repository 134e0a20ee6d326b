"""A recorder for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cnncli.runs.records import HistoryRow
from cnncli.training.stage_report import LedgerEntry


@dataclass
class Rows:
    """Keeps the history and the ledger in memory."""

    rows: list[HistoryRow] = field(default_factory=list)
    ledger: list[LedgerEntry] = field(default_factory=list)

    def add(self, row: HistoryRow) -> None:
        """Keep a row."""
        self.rows.append(row)

    def end_stage(self, entry: LedgerEntry) -> None:
        """Keep an entry."""
        self.ledger.append(entry)

    def begin_with(self, rows: Sequence[HistoryRow], ledger: Sequence[LedgerEntry]) -> None:
        """Have these instead."""
        self.rows, self.ledger = list(rows), list(ledger)
