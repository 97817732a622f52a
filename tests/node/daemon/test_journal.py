"""The journal keeps what it was told, also when the process that told it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orebit.chain.types import LeaseId
from orebit.daemon.journal import BatchHint, Intent, Journal, LeaseRecord, TaskHint
from orebit.errors import StorageError

LEASE = LeaseId.of(2**32 - 1, 255, 2**32 - 1)
ROOT, OTHER = b"\x01" * 32, b"\x02" * 32


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


def record(lease: LeaseId = LEASE, *, stake: int = 10**27) -> LeaseRecord:
    return LeaseRecord(lease, False, 3, 4, 8, 2, ROOT, "0xRequester", stake, time.time())


def test_a_lease_is_kept_whole(journal: Journal) -> None:
    journal.adopt(record(), slot=255)
    (found,) = journal.leases()
    assert (found.lease, found.stake, found.plan_root, found.closed) == (LEASE, 10**27, ROOT, None)
    assert isinstance(found.lease, LeaseId)


def test_an_adopted_lease_ends_its_intent(journal: Journal) -> None:
    journal.intend([Intent(255, 4, 0, 1), Intent(1, 4, 1, 1, LEASE)])
    journal.adopt(record(), slot=255)
    assert journal.intents() == [Intent(1, 4, 1, 1, LEASE)]


def test_adopting_again_loses_nothing(journal: Journal) -> None:
    journal.adopt(record(), slot=255)
    journal.set_root(LEASE, ROOT)
    journal.adopt(record(), slot=255)
    assert journal.leases()[0].root == ROOT


def test_the_first_root_stands_for_ever(journal: Journal) -> None:
    journal.adopt(record(), slot=255)
    assert journal.set_root(LEASE, ROOT) == ROOT
    assert journal.set_root(LEASE, OTHER) == ROOT


def test_checkpoints_stop_at_a_gap(journal: Journal) -> None:
    for number in (1, 2, 4):
        journal.checkpoint(LEASE, 8, number, bytes([number]) * 32)
    assert journal.checkpoints(LEASE, 8) == [b"\x01" * 32, b"\x02" * 32]
    assert journal.checkpoints(LEASE, 9) == []


def test_a_failed_act_may_be_repeated_and_a_done_one_not(journal: Journal) -> None:
    (number,) = journal.record_acts([("commit", LEASE)])
    assert journal.acted("commit", LEASE)
    journal.settle_acts([number], "failed: TooLate()")
    assert not journal.acted("commit", LEASE)


def test_blobs_are_secret_until_published(journal: Journal) -> None:
    journal.own_blobs(LEASE, [ROOT])
    assert not journal.is_public(ROOT)
    journal.publish(LEASE)
    assert journal.is_public(ROOT)
    journal.own_blobs(LEASE, [ROOT])
    assert journal.is_public(ROOT)


def test_one_event_counts_once_and_a_reorganisation_takes_it_back(journal: Journal) -> None:
    journal.earn(10, 0, "paid", LEASE, 10**25)
    journal.earn(10, 0, "paid", LEASE, 10**25)
    journal.earn(12, 3, "paid", LEASE, 1)
    assert journal.earnings() == {"paid": 10**25 + 1}
    journal.roll_back(10)
    assert journal.earnings() == {"paid": 10**25}


def test_a_settlement_that_was_reorganised_away_is_open_again(journal: Journal) -> None:
    hint = BatchHint(1, 1, ROOT)
    journal.see_task(4, TaskHint(1, "0xR", "http://r"))
    journal.see_batch(5, hint)
    journal.settle_batch(9, 1)
    assert journal.open_batches() == []
    journal.roll_back(8)
    assert journal.open_batches() == [hint]
    journal.roll_back(4)
    assert (journal.open_batches(), journal.task(1)) == ([], TaskHint(1, "0xR", "http://r"))


def test_a_full_disk_is_an_error_for_a_person(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be opened"):
        Journal(tmp_path / "no such folder" / "journal.sqlite")


WRITER = """
    import sys
    from pathlib import Path
    from orebit.chain.types import LeaseId
    from orebit.daemon.journal import Journal
    journal = Journal(Path(sys.argv[1]))
    number = 0
    while True:
        number += 1
        journal.checkpoint(LeaseId.of(1, 0, 1), 0, number, number.to_bytes(32, "big"))
        print(number, flush=True)
"""


def test_what_was_said_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= 20:
                os.kill(writer.pid, signal.SIGKILL)
                break
        said = max([20, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    journal = Journal(path)
    kept = journal.checkpoints(LeaseId.of(1, 0, 1), 0)
    journal.close()
    assert len(kept) >= said
    assert kept[said - 1] == said.to_bytes(32, "big")
